/** Two small charts of one path each: their size in elements never changes. */

import { el, svg } from './dom.js';

const HEIGHT = 36;

class Chart {
  constructor(kind) {
    this.path = svg('path');
    this.svg = svg('svg', { class: `chart ${kind}`, role: 'img', preserveAspectRatio: 'none' }, this.path);
    this.node = this.svg;
  }

  /** Show values, null where there is none; `label` says them to those who do not see. */
  draw(values, label) {
    const top = Math.max(1e-9, ...values.map((each) => each ?? 0));
    this.svg.setAttribute('viewBox', `0 0 ${values.length * 4} ${HEIGHT}`);
    this.svg.setAttribute('aria-label', label);
    this.path.setAttribute('d', this.trace(values.map((each) => (each === null ? null : HEIGHT - 1 - (each / top) * (HEIGHT - 4)))));
  }
}

/** One bar a value. */
export class Bars extends Chart {
  constructor() { super('bars'); }
  trace(ys) {
    return ys.map((y, i) => (y === null ? '' : `M${i * 4} ${HEIGHT}V${y.toFixed(1)}h3V${HEIGHT}z`)).join('');
  }
}

/** A line with gaps. */
export class Line extends Chart {
  constructor() { super('line'); }
  trace(ys) {
    let isOn = false;
    return ys.map((y, i) => {
      if (y === null) { isOn = false; return ''; }
      const step = `${isOn ? 'L' : 'M'}${i * 4 + 2} ${y.toFixed(1)}${isOn ? '' : 'h.01'}`;
      isOn = true;
      return step;
    }).join('');
  }
}

/** A share of a whole as a bar, with what it is and its figure. */
export class Share {
  constructor(kind = '') {
    this.bar = el('i');
    this.term = el('dt');
    this.figure = el('dd');
    this.node = el('div', { class: `share ${kind}` }, this.term, el('span', { class: 'track', 'aria-hidden': 'true' }, this.bar), this.figure);
  }

  show(term, share, figure) {
    if (this.term.textContent !== term) this.term.textContent = term;
    if (this.figure.textContent !== figure) this.figure.textContent = figure;
    this.bar.style.transform = `scaleX(${Math.min(1, Math.max(0, share || 0)).toFixed(3)})`;
  }
}
