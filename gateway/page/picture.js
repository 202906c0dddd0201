/**
 * A picture with what was found in it. A new one takes the place of the old when it is there, its
 * boxes with it; of those that come meanwhile only the newest is fetched.
 */

import { el, icon, svg } from './dom.js';

const WIDTHS = [320, 640, 1280, 1920];

/** The smallest width to ask for that fills so many pixels of the page. */
export function widthFor(pixels) {
  const wanted = pixels * Math.min(2, devicePixelRatio || 1);
  return WIDTHS.find((each) => each >= wanted) ?? WIDTHS.at(-1);
}

export class Picture {
  #shown = el('img', { alt: '', draggable: 'false' });
  #spare = el('img', { alt: '', draggable: 'false' });
  #marks = svg('svg', { class: 'marks', 'aria-hidden': 'true' });
  #url = null;
  #next = null;
  #isThere = false;
  #isLoading = false;
  #isVisible = true;
  #result = null;

  constructor() {
    this.node = el('div', { class: 'picture is-empty' }, icon('camera'), this.#shown, this.#marks);
  }

  /** Show what an address has, with the boxes and points of a result. */
  show(url, alt, result) {
    this.#next = { url, alt, result };
    if (this.#isVisible && !this.#isLoading) this.#load();
  }

  /** Out of sight nothing is fetched. */
  set isVisible(is) {
    this.#isVisible = is;
    if (is && this.#next && !this.#isLoading) this.#load();
  }

  /** Boxes anew, e.g. in another size. */
  redraw() {
    if (this.#isThere) this.#draw();
  }

  async #load() {
    this.#isLoading = true;
    while (this.#next && this.#isVisible) {
      const wanted = this.#next;
      this.#next = null;
      if (wanted.url !== this.#url) {
        this.#isThere = wanted.url !== null && (await this.#fetch(wanted.url));
        this.#url = wanted.url; // also where it is gone: it is not asked for again
      }
      this.node.classList.toggle('is-empty', !this.#isThere);
      if (!this.#isThere) continue;
      this.#result = wanted.result;
      this.#shown.alt = wanted.alt;
      this.#draw();
    }
    this.#isLoading = false;
  }

  async #fetch(url) {
    this.#spare.src = url;
    try {
      await this.#spare.decode();
    } catch {
      return false; // no longer kept
    }
    this.#shown.replaceWith(this.#spare);
    [this.#shown, this.#spare] = [this.#spare, this.#shown];
    return true;
  }

  #draw() {
    const { naturalWidth: width, naturalHeight: height } = this.#shown;
    const scale = Math.max(width / (this.node.clientWidth || width), height / (this.node.clientHeight || height));
    this.#marks.setAttribute('viewBox', `0 0 ${width} ${height}`);
    this.#marks.replaceChildren(...marks(this.#result, width, height, scale || 1));
  }
}

function marks(result, width, height, scale) {
  const nodes = [];
  (result?.objects ?? []).forEach(({ label, boxes }, i) => {
    for (const box of boxes) {
      const [x, y] = [box.x_min * width, box.y_min * height];
      const size = { width: (box.x_max - box.x_min) * width, height: (box.y_max - box.y_min) * height };
      const shape = { x, y, ...size, rx: 3 * scale };
      nodes.push(svg('rect', { ...shape, class: 'halo' }), svg('rect', { ...shape, class: `mark m${i % 6}` }));
      nodes.push(name(label, x, y < 18 * scale ? y + 14 * scale : y - 5 * scale, scale, i));
    }
  });
  (result?.points ?? []).forEach(({ label, points }, i) => {
    for (const point of points) {
      const at = { cx: point.x * width, cy: point.y * height };
      nodes.push(svg('circle', { ...at, r: 6 * scale, class: 'halo' }), svg('circle', { ...at, r: 6 * scale, class: `mark m${i % 6}` }));
      nodes.push(name(label, at.cx + 9 * scale, at.cy + 4 * scale, scale, i));
    }
  });
  return nodes;
}

function name(label, x, y, scale, i) {
  const style = { 'font-size': 12 * scale, 'stroke-width': 3 * scale };
  return svg('text', { x, y, ...style, class: `name m${i % 6}` }, label);
}
