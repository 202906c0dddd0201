/** A list of what is done with each frame: kinds, with what is asked or looked for. */

import { el } from './dom.js';

const MOST = 16;
/** By kind: its name, and what its text is; a caption has none. */
const KINDS = {
  caption: ['Caption', ''], query: ['Question', 'question'], choose: ['Choice', 'question'],
  detect: ['Boxes', 'what to look for'], point: ['Points', 'what to look for'],
};

export class Tasks {
  #shown = '';
  #rows = [];

  /** `onchange(tasks)` with the whole list; undefined while one of them lacks its text. */
  constructor(attributes, onchange) {
    this.onchange = onchange;
    this.list = el('ol');
    this.add = el('button', { type: 'button', onclick: () => this.#append() }, 'Add a task');
    this.node = el('div', { role: 'group', ...attributes }, this.list, this.add);
    this.list.addEventListener('change', () => this.#changed());
  }

  /** Show tasks as they travel; those that are shown already stay, with what is typed in them. */
  put(tasks) {
    const said = JSON.stringify(tasks ?? []);
    if (said === this.#shown) return;
    this.#shown = said;
    this.#rows = (tasks ?? []).map(make);
    this.#arrange();
  }

  #append() {
    const row = make({ query: '' });
    this.#rows.push(row);
    this.#arrange();
    row.kind.focus();
  }

  #remove(row) {
    const at = this.#rows.indexOf(row);
    this.#rows.splice(at, 1);
    this.#arrange();
    (this.#rows[at]?.kind ?? this.add).focus();
    this.#changed();
  }

  #arrange() {
    this.#rows.forEach((row, i) => {
      row.number = i + 1;
      row.remove.onclick = () => this.#remove(row);
      row.remove.disabled = this.#rows.length === 1; // a frame is for something
      label(row);
    });
    this.list.replaceChildren(...this.#rows.map((row) => row.node));
    this.add.hidden = this.#rows.length >= MOST;
  }

  #changed() {
    this.#rows.forEach(label);
    const tasks = this.#rows.map(read);
    const isWhole = tasks.every((each) => each !== null);
    if (isWhole) this.#shown = JSON.stringify(tasks);
    this.onchange(isWhole ? tasks : undefined);
  }
}

function make(task) {
  const [kind, said] = typeof task === 'string' ? [task, ''] : Object.entries(task)[0];
  const row = {
    kind: el('select', {}, ...Object.entries(KINDS).map(([value, [name]]) => el('option', { value }, name))),
    text: el('input', { type: 'text', maxlength: 2000, required: true }),
    choices: el('textarea', { rows: 2 }),
    remove: el('button', { type: 'button', class: 'plain' }, 'Remove'),
  };
  row.kind.value = kind;
  row.text.value = said.question ?? (typeof said === 'string' ? said : '');
  row.choices.value = (said.choices ?? []).join('\n');
  row.node = el('li', {}, row.kind, row.remove, row.text, row.choices);
  return row;
}

function label({ number, kind, text, choices, remove }) {
  const [name, wanted] = KINDS[kind.value];
  kind.setAttribute('aria-label', `Task ${number}`);
  text.hidden = !wanted;
  text.placeholder = wanted;
  text.setAttribute('aria-label', `Task ${number}: ${wanted}`);
  choices.hidden = kind.value !== 'choose';
  choices.placeholder = 'answers, one a line';
  choices.setAttribute('aria-label', `Task ${number}: answers, one a line`);
  remove.setAttribute('aria-label', `Remove task ${number}: ${name}`);
}

/** As it travels; null where it is not whole. */
function read({ kind, text, choices }) {
  if (kind.value === 'caption') return 'caption';
  const said = text.value.trim();
  if (!said) return null;
  if (kind.value !== 'choose') return { [kind.value]: said };
  return { choose: { question: said, choices: choices.value.split('\n').map((each) => each.trim()).filter(Boolean) } };
}
