/** Captions of before, of one camera or of all, with their pictures; searched, a page at a time. */

import { call, path } from './calls.js';
import { el, setText } from './dom.js';
import { Picture, widthFor } from './picture.js';
import { state } from './state.js';
import { capital, caption, found, moment, nameOf } from './words.js';

const PAGE = 30, MOST_SHOWN = 300, PAUSE_MS = 250;

export class History {
  #before = null;
  #query = '';
  #asked = 0;
  #timer = null;
  #seen = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) target.picture.isVisible = isIntersecting;
  });

  /** `onpick(document)`: one was chosen; null: a choice leads to its camera. */
  constructor(camera, onpick = null) {
    this.camera = camera;
    this.onpick = onpick;
    this.input = el('input', {
      type: 'search', placeholder: 'Words, "a phrase", begin*', 'aria-label': 'Search in captions',
      autocomplete: 'off', maxlength: '200', oninput: () => this.search(this.input.value, PAUSE_MS),
    });
    this.list = el('ol', { class: 'history' });
    this.note = el('p', { class: 'quiet', role: 'status' });
    this.older = el('button', { type: 'button', hidden: true, onclick: () => this.#load() }, 'Older');
    const head = el('div', { class: 'panel-head' }, el('h2', {}, 'Captions'), this.input);
    this.node = el('section', { class: 'panel', 'aria-label': 'Captions' }, head, this.list, this.note, this.older);
  }

  /** Show what has these words, after a pause in which they may change. */
  search(query, pause = 0) {
    this.#query = query.trim();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#before = null;
      this.#load();
    }, pause);
  }

  close() {
    clearTimeout(this.#timer);
    this.#asked += 1;
    this.#seen.disconnect();
  }

  /** A new caption has come. */
  add(document) {
    if (this.#query || !document?.result || this.list.firstChild?.key === keyOf(document)) return;
    this.list.prepend(this.#entry(document));
    if (this.list.children.length > MOST_SHOWN) this.#drop(this.list.lastElementChild);
    setText(this.note, '');
  }

  async #load() {
    const asked = (this.#asked += 1);
    const asking = new URLSearchParams({ limit: PAGE });
    if (this.camera) asking.set('camera', this.camera);
    if (this.#query) asking.set('q', this.#query);
    if (this.#before) asking.set('before', this.#before);
    let page;
    try {
      page = await call('GET', `captions?${asking}`);
    } catch (error) {
      if (asked === this.#asked) setText(this.note, error.message);
      return;
    }
    if (asked !== this.#asked) return; // another search has begun
    if (!this.#before) while (this.list.lastElementChild) this.#drop(this.list.lastElementChild);
    const items = page.items ?? [];
    this.list.append(...items.map((each) => this.#entry(each)));
    this.#before = page.next_before ?? null;
    this.older.hidden = !this.#before || this.list.children.length >= MOST_SHOWN;
    const none = this.#query ? 'No caption has these words.' : 'No captions yet.';
    const found = this.list.children.length ? '' : none;
    setText(this.note, page.is_complete === false ? `${found} Captions of before are still being read in.`.trim() : found);
  }

  #entry(document) {
    const { result } = document;
    const text = caption(result);
    const picture = new Picture();
    picture.isVisible = false;
    if (document.image !== null && document.has_image !== false) picture.show(pictureOf(document, widthFor(120)), '', null);
    const camera = this.camera ? '' : nameOf(state.cameras.get(document.camera_id) ?? { id: document.camera_id });
    const priority = result?.model_info?.priority;
    const facts = el('p', { class: 'facts' },
      el('time', { datetime: document.timestamp }, moment(document.taken_at ?? document.timestamp)),
      el('span', {}, camera),
      el('span', { class: 'chip', 'data-priority': priority ?? '' }, priority ? capital(priority) : ''),
      el('span', { class: 'found' }, found(result)));
    const words = this.onpick
      ? el('button', { type: 'button', class: 'plain', onclick: () => this.onpick(document) }, text)
      : el('a', { href: `#/camera/${encodeURIComponent(document.camera_id)}` }, text);
    const node = el('li', {}, picture.node, el('div', {}, words, facts));
    Object.assign(node, { picture, key: keyOf(document) });
    this.#seen.observe(node);
    return node;
  }

  #drop(node) {
    this.#seen.unobserve(node);
    node.remove();
  }
}

/** Where the picture of a result is. */
export function pictureOf(document, width) {
  const asked = new URLSearchParams({ camera: document.camera_id, width });
  return `${path('jobs', document.job_id)}/image.jpg?${asked}`;
}

const keyOf = (document) => `${document.camera_id}/${document.job_id}`;
