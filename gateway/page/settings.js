/** What can be changed of a camera while it runs; each change is sent when it is made. */

import { call, path } from './calls.js';
import { el, setText } from './dom.js';
import { capital, plain } from './words.js';

const LEVELS = ['low', 'normal', 'high', 'critical'];

const FIELDS = [
  ['enabled', 'Caption its frames', 'switch'],
  ['location', 'Name', 'text', { maxlength: 256 }],
  ['prompt', 'Question in place of the caption', 'lines', { maxlength: 2000, rows: 2 }],
  ['length', 'Length of the caption', 'choice', {}, ['short', 'normal', 'long']],
  ['min_priority', 'Least priority', 'choice', {}, LEVELS],
  ['min_intensity', 'Least motion, 0 to 1', 'number', { min: 0, max: 1, step: 'any' }],
  ['cooldown', 'Seconds between frames', 'number', { min: 0, max: 86400, step: 'any' }],
  ['similarity', 'Alike from, 0 to 1; 0 captions all', 'number', { min: 0, max: 1, step: 'any' }],
  ['newest_wins', 'A new frame replaces a waiting one', 'switch'],
  ['publish_image', 'Publish the captioned frame', 'switch'],
];

export class Settings {
  #rows = new Map();

  constructor(camera) {
    this.camera = camera;
    this.note = el('p', { class: 'quiet', role: 'status' });
    const rows = FIELDS.map((field) => this.#row(...field));
    this.form = el('form', { class: 'settings', onsubmit: (event) => event.preventDefault() }, ...rows);
    const head = el('div', { class: 'panel-head' }, el('h2', {}, 'Settings'));
    this.node = el('section', { class: 'panel', 'aria-label': 'Settings' }, head, this.form, this.note);
  }

  /** Show them as the service has them. */
  async load() {
    try {
      this.show(await call('GET', path('cameras', this.camera)));
    } catch (error) {
      this.form.hidden = true;
      setText(this.note, error.message);
    }
  }

  /** Show new ones; a field that somebody types in stays. */
  show({ settings, origins }) {
    this.form.hidden = false;
    for (const [name, row] of this.#rows) {
      if (row.input !== document.activeElement) put(row.input, settings[name]);
      if (origins) row.reset.hidden = origins[name] !== 'changed';
    }
  }

  #row(name, label, kind, limits = {}, choices = []) {
    const id = `setting-${name}`;
    const input = make(kind, { id, 'aria-describedby': `${id}-error`, ...limits }, choices);
    const reset = el('button', { type: 'button', class: 'plain', hidden: true, title: 'As the file says', 'aria-label': `${label}: as the file says`, onclick: () => this.#send(name, null) }, 'Reset');
    const error = el('p', { class: 'error', id: `${id}-error`, role: 'alert' });
    this.#rows.set(name, { input, reset, error });
    input.addEventListener('change', () => this.#send(name, value(input, kind)));
    return el('div', { class: `row is-${kind}` }, el('label', { for: id }, label), reset, input, error);
  }

  async #send(name, said) {
    const row = this.#rows.get(name);
    setText(row.error, '');
    if (Number.isNaN(said)) return setText(row.error, 'This is no number.');
    try {
      this.show(await call('PATCH', path('cameras', this.camera), { [name]: said }));
      setText(this.note, `${capital(plain(name))} is saved.`);
    } catch (error) {
      setText(this.note, '');
      setText(row.error, error.message);
    }
    return undefined;
  }
}

function make(kind, attributes, choices) {
  if (kind === 'switch') return el('input', { type: 'checkbox', role: 'switch', ...attributes });
  if (kind === 'lines') return el('textarea', attributes);
  if (kind === 'number') return el('input', { type: 'number', inputmode: 'decimal', ...attributes });
  if (kind === 'text') return el('input', { type: 'text', ...attributes });
  return el('select', attributes, ...choices.map((each) => el('option', { value: each }, capital(each))));
}

function put(input, said) {
  if (input.type === 'checkbox') input.checked = Boolean(said);
  else input.value = said ?? '';
}

/** As JSON; an empty field goes back to the file's value. */
function value(input, kind) {
  if (kind === 'switch') return input.checked;
  if (kind === 'number' && input.validity.badInput) return NaN;
  if (input.value.trim() === '') return null;
  return kind === 'number' ? Number(input.value) : input.value.trim();
}
