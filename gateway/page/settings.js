/** What can be changed of a camera while it runs; each change is sent when it is made. */

import { call, path } from './calls.js';
import { el, setText } from './dom.js';
import { Tasks } from './tasks.js';
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
  ['tasks', 'What is done with each frame', 'tasks'],
  ['webhook_url', 'Webhook: address that results are sent to', 'secret', { maxlength: 2048, inputmode: 'url', spellcheck: 'false', autocomplete: 'off' }],
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
      if (!row.node.contains(document.activeElement)) row.put(settings[name]);
      if (origins) row.reset.hidden = origins[name] !== 'changed';
    }
  }

  #row(name, label, kind, limits = {}, choices = []) {
    const id = `setting-${name}`;
    const send = (said) => this.#send(name, said);
    const named = kind === 'tasks' ? { 'aria-labelledby': `${id}-label` } : {};
    const { node, put } = control(kind, { id, 'aria-describedby': `${id}-error`, ...named, ...limits }, choices, send);
    const reset = el('button', { type: 'button', class: 'plain', hidden: true, title: 'As the file says', 'aria-label': `${label}: as the file says`, onclick: () => send(null) }, 'Reset');
    const error = el('p', { class: 'error', id: `${id}-error`, role: 'alert' });
    this.#rows.set(name, { node, put, reset, error });
    return el('div', { class: `row is-${kind}` }, el('label', { id: `${id}-label`, for: id }, label), reset, node, error);
  }

  async #send(name, said) {
    const row = this.#rows.get(name);
    setText(row.error, '');
    if (Number.isNaN(said)) return setText(row.error, 'This is no number.');
    if (said === undefined) return setText(this.note, 'Not saved yet: a task lacks its words.');
    try {
      this.show(await call('PATCH', path('cameras', this.camera), { [name]: said }));
      setText(this.note, `${capital(plain(name))} ${name === 'tasks' ? 'are' : 'is'} saved.`);
    } catch (error) {
      setText(this.note, '');
      setText(row.error, error.message);
    }
    return undefined;
  }
}

/** What a setting is changed with: its element, and what shows in it how things are. */
function control(kind, attributes, choices, send) {
  if (kind === 'tasks') {
    const tasks = new Tasks(attributes, send);
    return { node: tasks.node, put: (said) => tasks.put(said) };
  }
  const node = make(kind, attributes, choices);
  node.addEventListener('change', () => send(value(node, kind)));
  return { node, put: (said) => put(node, kind, said) };
}

function make(kind, attributes, choices) {
  if (kind === 'switch') return el('input', { type: 'checkbox', role: 'switch', ...attributes });
  if (kind === 'lines') return el('textarea', attributes);
  if (kind === 'number') return el('input', { type: 'number', inputmode: 'decimal', ...attributes });
  if (kind === 'text' || kind === 'secret') return el('input', { type: 'text', ...attributes });
  return el('select', attributes, ...choices.map((each) => el('option', { value: each }, capital(each))));
}

function put(input, kind, said) {
  if (kind === 'switch') input.checked = Boolean(said);
  else if (kind !== 'secret') input.value = said ?? '';
  else { // of what may hold a token only the beginning is told: it is for looking at, not to be sent back
    input.value = '';
    input.placeholder = said?.replace(/\*+$/, '…') ?? '';
  }
}

/** As JSON; an empty field goes back to the file's value. */
function value(input, kind) {
  if (kind === 'switch') return input.checked;
  if (kind === 'number' && input.validity.badInput) return NaN;
  if (input.value.trim() === '') return null;
  return kind === 'number' ? Number(input.value) : input.value.trim();
}
