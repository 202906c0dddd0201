/** The service beside the cameras: work, queue, rates, machine, and what was refused. */

import { Bars, Line, Share } from './charts.js';
import { el, fill, setText } from './dom.js';
import { buckets, since, state } from './state.js';
import { PRIORITIES, age, capital, duration, gigabytes, nameOf, number, plain } from './words.js';

const MOST_WORKING = 6;
const ENDS = ['completed', 'failed', 'dropped', 'duplicate', 'expired', 'cancelled', 'rejected'];

export class Service {
  constructor(aside) {
    this.problems = el('ul', { class: 'problems' });
    this.work = el('ol', { class: 'work' });
    this.batches = el('dl');
    this.idle = el('p', { class: 'quiet' });
    this.queue = Object.fromEntries(PRIORITIES.map((name) => [name, new Share(`p-${name}`)]));
    this.waiting = el('span', { class: 'total' });
    this.rate = el('span', { class: 'total' });
    this.latency = el('span', { class: 'total' });
    this.bars = new Bars();
    this.line = new Line();
    this.machine = el('dl');
    this.ends = el('dl', { class: 'ends' });
    this.model = el('p', { class: 'quiet' });
    this.lines = el('ol', { class: 'lines' });
    this.noLines = el('p', { class: 'quiet' }, 'Nothing since this page was opened.');
    aside.append(
      this.problems,
      panel('In work', null, this.work, this.idle, this.batches),
      panel('Queue', this.waiting, el('dl', {}, ...PRIORITIES.map((name) => this.queue[name].node))),
      panel('Captions', this.rate, this.bars.node),
      panel('Latency', this.latency, this.line.node),
      panel('Machine', null, this.machine, this.model),
      panel('Frames', null, this.ends),
      panel('Warnings and refusals', null, this.lines, this.noLines),
    );
  }

  update(changes) {
    if (changes.has('work') || changes.has('stats')) this.#showWork();
    if (changes.has('stats')) this.#showStats();
    if (changes.has('metrics') || changes.has('info')) this.#showMachine();
    if (changes.has('health')) this.#showHealth();
    if (changes.has('lines')) this.#showLines();
  }

  /** Every second. */
  tick() {
    this.#showCharts();
    this.#showWork();
    for (const node of this.lines.children) setText(node.age, age(since(node.at)));
  }

  #showWork() {
    const working = [...state.jobs.values()].filter((job) => job.status === 'processing');
    fill(this.work, working.slice(0, MOST_WORKING), makeWork, (node, job) => {
      node.dataset.priority = job.priority ?? '';
      setText(node.name, nameOf(state.cameras.get(job.camera_id) ?? { id: job.camera_id }));
      setText(node.age, age(since(job.timestamp)));
    });
    const more = working.length - MOST_WORKING;
    const isPaused = state.stats?.processing === false;
    setText(this.idle, more > 0 ? `and ${more} more` : working.length ? '' : isPaused ? 'Paused: frames wait.' : 'Nothing at the moment.');
    const waiting = PRIORITIES.reduce((sum, name) => sum + (state.queued[name] ?? 0), 0);
    for (const name of PRIORITIES) {
      const count = state.queued[name] ?? 0;
      this.queue[name].show(capital(name), count / Math.max(10, waiting), number(count));
    }
    setText(this.waiting, `${number(waiting)} waiting`);
    fill(this.batches, [...state.batches.values()].filter((each) => each.state === 'running'), makeShare, (node, batch) => {
      node.share.show(batch.name ?? 'Batch', batch.progress, `${number(batch.completed + batch.failed + batch.cancelled)} of ${number(batch.total)}`);
    });
  }

  #showStats() {
    const { stats } = state;
    if (!stats) return;
    setText(this.rate, `${stats.captions_per_minute.toFixed(stats.captions_per_minute < 10 ? 1 : 0)} a minute`);
    const all = stats.latency_overall;
    setText(this.latency, all ? `${duration(all.p50)} median, ${duration(all.p95)} p95` : 'no captions yet');
    const why = { dropped: stats.dropped, rejected: stats.rejected, duplicate: stats.duplicates };
    fill(this.ends, ENDS.filter((name) => stats.status_counts[name]), makeEnd, (node, name) => {
      const reasons = Object.entries(why[name] ?? {}).map(([code, count]) => `${plain(code)} ${number(count)}`).join(', ');
      setText(node.term, capital(name));
      setText(node.figure, number(stats.status_counts[name]));
      setText(node.why, reasons);
    });
    this.#showCharts();
  }

  #showCharts() {
    const all = buckets();
    const captions = all.map((each) => each?.captions ?? null);
    const seconds = all.map((each) => (each ? each.seconds / each.captions : null));
    const sum = captions.reduce((total, each) => total + (each ?? 0), 0);
    this.bars.draw(captions, `${number(sum)} captions in the last ten minutes`);
    this.line.draw(seconds, `Latency of the last ten minutes, at most ${duration(Math.max(0, ...seconds.map((each) => each ?? 0)))}`);
  }

  #showMachine() {
    const { metrics, info } = state;
    const rows = [];
    for (const gpu of metrics?.gpus ?? []) {
      const { memory, utilization, temperature, power } = gpu;
      const extra = [temperature === null ? '' : `${temperature} °C`, power === null ? '' : `${Math.round(power)} W`].filter(Boolean).join(', ');
      if (utilization) rows.push([`GPU ${gpu.id}`, utilization.gpu / 100, `${utilization.gpu} %${extra ? `, ${extra}` : ''}`]);
      rows.push(['GPU memory', memory.used / memory.total, `${gigabytes(memory.used)} of ${gigabytes(memory.total)}`]);
    }
    if (metrics) rows.push(['Processor', metrics.cpu / 100, `${Math.round(metrics.cpu)} %`], ['Memory', metrics.memory / 100, `${Math.round(metrics.memory)} %`]);
    fill(this.machine, rows, makeShare, (node, row) => node.share.show(...row));
    const model = info?.model;
    setText(this.model, model ? [model.name, model.device, model.dtype, model.state === 'ready' ? '' : model.message ?? model.state].filter(Boolean).join(' · ') : '');
  }

  #showHealth() {
    const bad = Object.entries(state.health?.checks ?? {}).filter(([, check]) => check.status !== 'healthy');
    fill(this.problems, bad, () => el('li'), (node, [name, check]) => {
      node.dataset.status = check.status;
      setText(node, `${capital(plain(name))}: ${check.message}`);
    });
  }

  #showLines() {
    this.noLines.hidden = state.lines.length > 0;
    fill(this.lines, state.lines, makeLine, (node, line) => {
      node.at = line.at;
      node.dataset.kind = line.kind;
      setText(node.what, [line.camera, plain(line.code ?? line.kind)].filter(Boolean).join(' · '));
      setText(node.message, line.message ?? '');
      setText(node.age, age(since(line.at)));
    });
  }
}

function panel(title, total, ...content) {
  const head = el('div', { class: 'panel-head' }, el('h2', {}, title), total);
  return el('section', { class: 'panel', 'aria-label': title }, head, ...content);
}

function parts(node, children) {
  Object.assign(node, children);
  node.append(...Object.values(children));
  return node;
}

const makeWork = () => parts(el('li'), { name: el('span'), age: el('span', { class: 'age' }) });
const makeEnd = () => parts(el('div'), { term: el('dt'), figure: el('dd'), why: el('dd', { class: 'why' }) });
const makeLine = () => parts(el('li'), { what: el('strong'), age: el('span', { class: 'age' }), message: el('p') });

function makeShare() {
  const share = new Share();
  share.node.share = share;
  return share.node;
}
