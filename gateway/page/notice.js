/** What is said besides: a line that goes by itself, words for a screen reader, questions. */

import { el, setText } from './dom.js';

const TOAST_MS = 5000, SPOKEN_EVERY_MS = 10_000;

let timer = null;
let spokenAt = 0;

/** Show a sentence for a few seconds; read out too. */
export function toast(text) {
  const node = document.getElementById('toast');
  setText(node, text);
  node.hidden = false;
  clearTimeout(timer);
  timer = setTimeout(() => { node.hidden = true; }, TOAST_MS);
}

/** Read out, at most every ten seconds. */
export function say(text) {
  if (Date.now() - spokenAt < SPOKEN_EVERY_MS) return;
  spokenAt = Date.now();
  setText(document.getElementById('said'), text);
}

/** A dialog that is gone once it is closed. */
export function dialog(title, ...content) {
  const head = el('h2', { id: 'dialog-title' }, title);
  const node = el('dialog', { 'aria-labelledby': 'dialog-title' }, head, ...content);
  node.addEventListener('close', () => node.remove());
  document.body.append(node);
  node.showModal();
  return node;
}

/** Ask before something is done; resolves to whether it is to be. */
export function confirmed(title, sentence, action) {
  return new Promise((resolve) => {
    const no = el('button', { type: 'button', onclick: () => node.close() }, 'No');
    const yes = el('button', { type: 'button', class: 'is-bad', onclick: () => node.close('yes') }, action);
    const node = dialog(title, el('p', {}, sentence), el('div', { class: 'buttons' }, no, yes));
    node.addEventListener('close', () => resolve(node.returnValue === 'yes'));
    no.focus();
  });
}
