/** All cameras: as a page to read, or as a wall to look at. */

import { Card } from './card.js';
import { el, setText } from './dom.js';
import { widthFor } from './picture.js';
import { state } from './state.js';
import { caption, nameOf } from './words.js';

const WALL_GAP = 6, SHAPE = 16 / 9, FEW = 4;

export class Grid {
  #cards = new Map();
  #width = 320;
  #count = 0;
  #sight = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) target.card.picture.isVisible = isIntersecting;
  }, { rootMargin: '200px' });

  constructor({ isWall, query }) {
    this.title = isWall ? 'Wall' : 'Cameras';
    this.isWall = isWall;
    this.query = query;
    this.list = el('ul', { class: isWall ? 'grid is-wall' : 'grid' });
    this.empty = el('p', { class: 'empty' });
    this.node = el('section', { 'aria-label': this.title }, el('h1', { class: 'unseen' }, this.title), this.list, this.empty);
  }

  open() {
    this.size = new ResizeObserver(() => this.#fit());
    this.size.observe(this.node);
    this.#reconcile();
  }

  close() {
    this.size.disconnect();
    this.#sight.disconnect();
  }

  update(changes) {
    if (changes.has('cameras') || changes.has('query')) this.#reconcile();
    for (const each of changes) {
      const [what, id] = split(each);
      const card = this.#cards.get(id);
      if (card === undefined) continue;
      const camera = state.cameras.get(id);
      if (what === 'camera' && camera) card.show(camera, this.#width);
      if (what === 'frame') card.pulse();
    }
  }

  /** Every second. */
  tick() {
    for (const card of this.#cards.values()) card.tick(state.cameras.get(card.id) ?? {});
  }

  /** Arrow keys go from card to card, as they are seen. */
  press(key) {
    const links = [...this.list.children].filter((each) => !each.hidden).map((each) => each.card.link);
    const at = links.indexOf(document.activeElement);
    const columns = getComputedStyle(this.list).gridTemplateColumns.split(' ').length;
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[key];
    if (step === undefined || !links.length) return false;
    (links[at < 0 ? 0 : at + step] ?? links[at]).focus();
    return true;
  }

  #reconcile() {
    for (const [id, card] of this.#cards) {
      if (state.cameras.has(id)) continue;
      this.#sight.unobserve(card.node);
      card.node.remove();
      this.#cards.delete(id);
    }
    const words = this.query().toLowerCase().split(/\s+/).filter(Boolean);
    const cameras = [...state.cameras.values()].sort((a, b) => nameOf(a).localeCompare(nameOf(b)) || a.id.localeCompare(b.id));
    let numShown = 0;
    cameras.forEach((camera, i) => {
      const card = this.#cards.get(camera.id) ?? this.#add(camera);
      if (this.list.children[i] !== card.node) this.list.insertBefore(card.node, this.list.children[i] ?? null);
      const text = `${camera.id} ${nameOf(camera)} ${caption(camera.result?.result)}`.toLowerCase();
      card.node.hidden = !this.isWall && !words.every((word) => text.includes(word));
      numShown += !card.node.hidden;
    });
    this.list.classList.toggle('is-few', cameras.length <= FEW);
    this.empty.hidden = numShown > 0;
    setText(this.empty, cameras.length ? 'No camera is called so, and none shows that now. Enter searches all captions.'
      : 'No camera has sent a frame yet. Drop a picture here to try the model.');
    if (this.#count === cameras.length) return;
    this.#count = cameras.length;
    this.#fit();
  }

  #add(camera) {
    const card = new Card(camera.id);
    card.node.card = card;
    card.picture.isVisible = false;
    this.#cards.set(camera.id, card);
    this.#sight.observe(card.node);
    card.show(camera, this.#width);
    return card;
  }

  #fit() {
    this.#fitWall();
    const first = [...this.list.children].find((each) => !each.hidden);
    this.#width = widthFor(first?.clientWidth || 320);
    for (const card of this.#cards.values()) {
      card.show(state.cameras.get(card.id), this.#width);
      card.picture.redraw();
    }
  }

  /** As many columns as make the pictures largest. */
  #fitWall() {
    if (!this.isWall) return;
    const { clientWidth: width, clientHeight: height } = this.node;
    const count = Math.max(1, this.#cards.size);
    let best = { columns: 1, size: 0 };
    for (let columns = 1; columns <= count; columns += 1) {
      const rows = Math.ceil(count / columns);
      const [w, h] = [(width - WALL_GAP * (columns - 1)) / columns, (height - WALL_GAP * (rows - 1)) / rows];
      const size = Math.min(w, h * SHAPE);
      if (size > best.size) best = { columns, rows, size };
    }
    this.list.style.setProperty('--columns', best.columns);
    this.list.style.setProperty('--rows', best.rows ?? 1);
  }
}

function split(change) {
  const at = change.indexOf(':');
  return at < 0 ? [change] : [change.slice(0, at), change.slice(at + 1)];
}
