/** One camera of the grid and of the wall. */

import { path } from './calls.js';
import { el, setText } from './dom.js';
import { Picture } from './picture.js';
import { since } from './state.js';
import { age, capital, caption, found, nameOf, plain } from './words.js';

const QUIET = new Set(['queued', 'processing', 'completed']);
const PULSE = [{ boxShadow: '0 0 0 3px var(--accent)' }, { boxShadow: '0 0 0 3px transparent' }];

/** Where the newest captioned picture of a camera is. */
export function pictureOf(camera, width) {
  if (!camera.image) return null;
  return `${path('cameras', camera.id)}/image.jpg?v=${encodeURIComponent(camera.image)}&width=${width}`;
}

export class Card {
  #pulse = null;

  constructor(id) {
    this.id = id;
    this.picture = new Picture();
    this.link = el('a', { href: `#/camera/${encodeURIComponent(id)}` });
    this.age = el('span', { class: 'age' });
    this.caption = el('p', { class: 'caption' });
    this.answered = el('p', { class: 'answered' });
    this.chip = el('span', { class: 'chip' });
    this.found = el('span', { class: 'found' });
    this.doing = el('span', { class: 'doing' });
    const head = el('div', { class: 'card-head' }, el('h2', {}, this.link), this.age);
    const facts = el('p', { class: 'facts' }, this.chip, this.found, this.doing);
    const text = el('div', { class: 'card-text' }, head, this.caption, this.answered, facts);
    this.node = el('li', { class: 'card' }, this.picture.node, text);
  }

  /** Show a camera as it is known. */
  show(camera, width) {
    const result = camera.result?.result;
    setText(this.link, nameOf(camera));
    setText(this.caption, caption(result) || 'No caption yet');
    this.caption.classList.toggle('is-none', !result);
    setText(this.answered, result?.caption ? (result.answers ?? []).map((each) => `${each.question} ${each.answer}`).join(' · ') : '');
    const priority = result?.model_info?.priority;
    setText(this.chip, priority ? capital(priority) : '');
    this.chip.dataset.priority = this.node.dataset.priority = priority ?? '';
    setText(this.found, found(result));
    this.#showDoing(camera);
    this.node.classList.toggle('is-off', camera.settings?.enabled === false);
    this.picture.show(pictureOf(camera, width), caption(result), result);
    this.tick(camera);
  }

  /** Only how old it is. */
  tick(camera) {
    const at = camera.result?.taken_at ?? camera.result?.timestamp;
    setText(this.age, at ? age(since(at)) : '');
  }

  /** A frame has come. */
  pulse() {
    if (matchMedia('(prefers-reduced-motion: reduce)').matches) return;
    this.#pulse ??= this.node.animate(PULSE, { duration: 900, easing: 'ease-out' });
    this.#pulse.currentTime = 0;
    this.#pulse.play();
  }

  #showDoing(camera) {
    const { status, error } = camera.status ?? {};
    this.node.classList.toggle('is-working', status === 'processing');
    let text = '';
    if (camera.settings?.enabled === false) text = 'off';
    else if (status === 'queued') text = 'waiting';
    else if (status === 'processing') text = 'captioning';
    else if (status && !QUIET.has(status)) text = error?.code && error.code !== status ? `${status}: ${plain(error.code)}` : status;
    setText(this.doing, text);
    this.doing.classList.toggle('is-bad', status === 'failed' || status === 'rejected');
  }
}
