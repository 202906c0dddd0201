/** One camera: its picture large, what was said about it, its settings. */

import { pictureOf } from './card.js';
import { el, fill, icon, setText } from './dom.js';
import { History, pictureOf as pictureOfJob } from './history.js';
import { toast } from './notice.js';
import { Picture, widthFor } from './picture.js';
import { Settings } from './settings.js';
import { since, state } from './state.js';
import { age, capital, caption, duration, found, moment, nameOf } from './words.js';

const MOST_METADATA = 20;

export class CameraPage {
  constructor({ id }) {
    this.id = id;
    this.picked = null; // an older caption in the place of the newest
    this.picture = new Picture();
    this.heading = el('h1');
    this.age = el('span', { class: 'age' });
    this.caption = el('p', { class: 'caption' });
    this.chip = el('span', { class: 'chip' });
    this.facts = el('span', { class: 'found' });
    this.answers = el('dl', { class: 'answers' });
    this.newest = el('button', { type: 'button', hidden: true, onclick: () => this.#pick(null) }, 'Back to the newest');
    this.history = new History(id, (document) => this.#pick(document));
    this.settings = new Settings(id);
    const back = el('a', { class: 'tool', href: '#/', title: 'All cameras', 'aria-label': 'All cameras' }, icon('back'));
    const text = el('div', { class: 'card-text' }, this.caption, el('p', { class: 'facts' }, this.chip, this.facts, this.newest), this.answers);
    this.node = el('section', { class: 'camera' },
      el('div', { class: 'camera-head' }, back, this.heading, this.age),
      el('div', { class: 'card is-large' }, this.picture.node, text),
      el('div', { class: 'camera-side' }, this.history.node, this.settings.node));
  }

  get title() { return nameOf(this.#camera); }

  get #camera() { return state.cameras.get(this.id) ?? { id: this.id }; }

  open() {
    this.size = new ResizeObserver(() => this.#show());
    this.size.observe(this.picture.node);
    this.history.search('');
    this.settings.load();
    this.wasThere = state.cameras.has(this.id);
    this.#show();
  }

  close() {
    this.size.disconnect();
    this.history.close();
  }

  update(changes) {
    if (changes.has(`result:${this.id}`)) this.history.add(this.#camera.result);
    if (changes.has(`settings:${this.id}`) && this.#camera.settings) this.settings.show(this.#camera);
    if (changes.has(`camera:${this.id}`)) this.#isForgotten() ? this.#leave() : this.#show();
  }

  /** Whether it was there and is no more. */
  #isForgotten() {
    const isThere = state.cameras.has(this.id);
    this.wasThere ||= isThere;
    return this.wasThere && !isThere;
  }

  #leave() {
    toast(`${this.heading.textContent} has been forgotten.`);
    location.hash = '#/';
  }

  /** Every second. */
  tick() {
    const shown = this.picked ?? this.#camera.result;
    const at = shown?.taken_at ?? shown?.timestamp;
    setText(this.age, !at ? '' : this.picked ? moment(at) : age(since(at)));
  }

  /** Left and right lead to the cameras beside it. */
  press(key) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[key];
    if (step === undefined) return false;
    const all = [...state.cameras.values()].sort((a, b) => nameOf(a).localeCompare(nameOf(b)) || a.id.localeCompare(b.id));
    const next = all[all.findIndex((each) => each.id === this.id) + step];
    if (next) location.hash = `#/camera/${encodeURIComponent(next.id)}`;
    return true;
  }

  #pick(document) {
    this.picked = document;
    this.#show();
    if (document) this.node.scrollIntoView({ block: 'start' });
  }

  #show() {
    const camera = this.#camera;
    const shown = this.picked ?? camera.result;
    const result = shown?.result;
    setText(this.heading, nameOf(camera));
    setText(this.caption, caption(result) || 'No caption yet');
    const priority = result?.model_info?.priority;
    setText(this.chip, priority ? capital(priority) : '');
    this.chip.dataset.priority = priority ?? '';
    const seconds = result ? `${duration(result.queue_time)} waiting, ${duration(result.processing_time)} in the model` : '';
    setText(this.facts, [found(result), seconds].filter(Boolean).join(' · '));
    const answers = (result?.answers ?? []).map((each) => [each.question, each.answer]);
    const metadata = Object.entries(shown?.metadata ?? {}).slice(0, MOST_METADATA);
    fill(this.answers, [...answers, ...metadata], () => el('div', {}, el('dt'), el('dd')), (node, [term, said]) => {
      setText(node.firstChild, term);
      setText(node.lastChild, typeof said === 'string' ? said : JSON.stringify(said));
    });
    this.newest.hidden = this.picked === null;
    const width = widthFor(this.picture.node.clientWidth || 640);
    const url = this.picked ? pictureOfJob(this.picked, width) : pictureOf(camera, width);
    this.picture.show(url, caption(result), result);
    this.picture.redraw();
    this.tick();
  }
}

/** Captions of all cameras that have some words. */
export class SearchPage {
  title = 'Captions';

  constructor({ query }) {
    this.history = new History(null);
    this.history.input.value = query;
    this.node = el('section', { class: 'search' }, this.history.node);
  }

  open() { this.history.search(this.history.input.value); }

  close() { this.history.close(); }

  update() { /* what is found stays as it is */ }

  tick() { /* times are absolute */ }

  press() { return false; }
}
