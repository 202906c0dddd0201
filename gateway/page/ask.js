/** A picture of the reader's own: dropped, pasted or chosen, then captioned, asked, searched. */

import { call } from './calls.js';
import { el, fill, setText } from './dom.js';
import { dialog, toast } from './notice.js';
import { Picture } from './picture.js';
import { state } from './state.js';
import { duration, found } from './words.js';

const MOST_ANSWERS = 20, LONGEST_SIDE = 2048, MOST_BYTES = 4e6;
const AS_IT_IS = ['image/jpeg', 'image/png', 'image/webp'];

const KINDS = {
  caption: ['Caption', null],
  query: ['Ask', 'What do you want to know?'],
  detect: ['Detect', 'What shall be boxed? e.g. person'],
  point: ['Point', 'What shall be pointed at? e.g. face'],
};

let open = null;

/** Let a picture be dropped or pasted anywhere. */
export function takePictures() {
  const isFile = (event) => [...(event.dataTransfer?.types ?? [])].includes('Files');
  let depth = 0; // dragenter and dragleave come for every element
  const mark = (by) => document.body.classList.toggle('is-dropping', (depth = Math.max(0, depth + by)) > 0);
  addEventListener('dragenter', (event) => isFile(event) && mark(1));
  addEventListener('dragleave', (event) => isFile(event) && mark(-1));
  addEventListener('dragover', (event) => isFile(event) && event.preventDefault());
  addEventListener('drop', (event) => {
    mark(-depth);
    if (!isFile(event)) return;
    event.preventDefault();
    take(event.dataTransfer.files);
  });
  addEventListener('paste', (event) => {
    const { files } = event.clipboardData;
    if (!files.length) return;
    event.preventDefault();
    take(files);
  });
}

/** The dialog, without a picture yet. */
export function ask() {
  open ??= new Asking();
  return open;
}

function take(files) {
  if (!files.length) return;
  ask().take(files[0]);
  if (files.length > 1) toast(`One picture at a time: this is the first of ${files.length}.`);
}

class Asking {
  #url = null;
  #data = null;
  #answers = [];
  #running = null;
  #timer = null;

  constructor() {
    this.file = el('input', { type: 'file', accept: 'image/*', class: 'is-file', 'aria-label': 'Choose a picture', onchange: () => take(this.file.files) });
    this.picture = new Picture();
    this.kinds = Object.entries(KINDS).map(([kind, [name]], i) => el('label', {}, el('input', { type: 'radio', name: 'kind', value: kind, checked: i === 0, onchange: () => this.#choose() }), el('span', {}, name)));
    this.words = el('input', { type: 'text', maxlength: '2000', hidden: true, autocomplete: 'off' });
    this.send = el('button', { type: 'submit', class: 'is-main', disabled: true }, 'Caption');
    this.stop = el('button', { type: 'button', hidden: true, onclick: () => this.#running?.abort() }, 'Cancel');
    this.note = el('p', { class: 'quiet', role: 'status' });
    this.answers = el('ol', { class: 'said-about' });
    const close = el('button', { type: 'button', onclick: () => this.node.close() }, 'Close');
    const kinds = el('fieldset', { class: 'kinds' }, el('legend', { class: 'unseen' }, 'What to do'), ...this.kinds);
    this.form = el('form', { onsubmit: (event) => { event.preventDefault(); this.#ask(); } },
      kinds, this.words, el('div', { class: 'buttons' }, this.stop, close, this.send));
    this.node = dialog('Ask about a picture', el('p', { class: 'quiet' }, 'Drop a picture anywhere on the page, paste one, or choose a file.'), this.file, this.picture.node, this.answers, this.note, this.form);
    this.node.classList.add('asking');
    this.node.addEventListener('close', () => this.#close());
  }

  /** Another picture. */
  async take(file) {
    this.#running?.abort();
    this.#answers = [];
    this.#showAnswers();
    setText(this.note, 'Reading the picture …');
    try {
      const blob = await readable(file);
      this.#data = await dataUri(blob);
      if (this.#url) URL.revokeObjectURL(this.#url);
      this.#url = URL.createObjectURL(blob);
      this.picture.show(this.#url, file.name || 'The picture', null);
      setText(this.note, '');
      this.send.disabled = false;
      this.send.focus();
    } catch {
      setText(this.note, `${file.name || 'This'} is no picture that this browser can read.`);
    }
  }

  get #kind() { return this.kinds.map((each) => each.firstChild).find((each) => each.checked).value; }

  #choose() {
    const [name, placeholder] = KINDS[this.#kind];
    setText(this.send, name);
    this.words.hidden = placeholder === null;
    this.words.required = placeholder !== null;
    this.words.placeholder = placeholder ?? '';
    this.words.setAttribute('aria-label', placeholder ?? '');
    if (placeholder !== null) this.words.focus();
  }

  async #ask() {
    if (this.#data === null || this.#running) return;
    const [kind, words, began] = [this.#kind, this.words.value.trim(), performance.now()];
    this.#running = new AbortController();
    this.#isBusy(true);
    const tick = () => {
      const doing = state.stats?.processing === false ? 'Paused: the picture waits' : 'The model is looking at it';
      setText(this.note, `${doing}, ${Math.floor((performance.now() - began) / 1000)} s …`);
    };
    tick();
    this.#timer = setInterval(tick, 1000);
    try {
      const result = await asked(kind, words, this.#data, this.#running.signal);
      const seconds = duration((performance.now() - began) / 1000);
      this.#answers.unshift({ question: kind === 'caption' ? 'Caption' : words, said: sentence(kind, words, result), seconds });
      this.#answers.length = Math.min(this.#answers.length, MOST_ANSWERS);
      this.#showAnswers();
      this.picture.show(this.#url, sentence(kind, words, result), result);
      setText(this.note, '');
    } catch (error) {
      setText(this.note, error.name === 'AbortError' ? 'Cancelled.' : error.message);
    }
    clearInterval(this.#timer);
    this.#running = null;
    this.#isBusy(false);
  }

  #isBusy(is) {
    this.send.disabled = is || this.#data === null;
    this.stop.hidden = !is;
    this.node.classList.toggle('is-working', is);
  }

  #showAnswers() {
    fill(this.answers, this.#answers, () => el('li', {}, el('strong'), el('span', { class: 'age' }), el('p')), (node, { question, said, seconds }) => {
      [question, seconds, said].forEach((text, i) => setText(node.children[i], text));
    });
  }

  #close() {
    this.#running?.abort();
    clearInterval(this.#timer);
    if (this.#url) URL.revokeObjectURL(this.#url);
    open = null;
  }
}

/** What the model says, in the form of a result. */
async function asked(kind, words, data, signal) {
  if (kind === 'caption') return (await call('POST', 'caption', { frame_data: data }, signal)).result;
  if (kind === 'query') return { caption: (await call('POST', 'v1/query', { image_url: data, question: words }, signal)).answer };
  const body = { image_url: data, object: words };
  if (kind === 'detect') {
    const { objects: boxes = [] } = await call('POST', 'v1/detect', body, signal);
    return { objects: [{ label: words, count: boxes.length, boxes }] };
  }
  const { points = [] } = await call('POST', 'v1/point', body, signal);
  return { points: [{ label: words, count: points.length, points }] };
}

function sentence(kind, words, result) {
  if (kind === 'caption' || kind === 'query') return result?.caption || 'The model said nothing.';
  return found(result) || `No ${words} is there.`;
}

/** A picture that the service takes, of reasonable size. */
async function readable(file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  if (scale === 1 && file.size <= MOST_BYTES && AS_IT_IS.includes(file.type)) return file;
  const canvas = el('canvas', { width: Math.round(bitmap.width * scale), height: Math.round(bitmap.height * scale) });
  canvas.getContext('2d').drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('no picture'))), 'image/jpeg', 0.92);
  });
}

function dataUri(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}
