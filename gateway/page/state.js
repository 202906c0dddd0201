/**
 * What the service has said so far. Bounded: one entry a camera, and so many jobs, lines and batches.
 * Views hear at most once a frame of the screen what has changed since.
 */

import { PRIORITIES } from './words.js';

const MOST_JOBS = 2000, MOST_LINES = 50, MOST_BATCHES = 5, NUM_BUCKETS = 60;
export const BUCKET_MS = 10_000;

export const state = {
  isConnected: false,
  lostAt: null,
  info: null,
  stats: null,
  health: null,
  metrics: null,
  cameras: new Map(), // id: {id, location, settings, result, image, status, seenAt}
  jobs: new Map(), // camera/job: StatusDocument of those that wait or are worked on
  queued: {}, // by priority, between two `stats`
  lines: [], // warnings and refusals, newest first
  batches: new Map(),
  buckets: [], // of ten seconds: {at, captions, seconds}
};

const changes = new Set();
const views = new Set();
let isDue = false;
let skew = null; // how far this clock is ahead of the service's, in ms, at most

/** Hear of changes: `update(changes)` with names like `stats`, `cameras`, `camera:ID`, `frame:ID`. */
export function watch(update) {
  views.add(update);
  return () => views.delete(update);
}

/** Say that something is not as it was. */
export function changed(...what) {
  what.forEach((each) => changes.add(each));
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    const since = new Set(changes);
    changes.clear();
    for (const view of [...views]) {
      try {
        view(since);
      } catch (error) { // one odd document is not the end of all others
        console.warn('view', error);
      }
    }
  });
}

/** Now, by the service's clock. */
export const now = () => Date.now() - (Math.abs(skew ?? 0) > 2000 ? skew : 0);

/** How long ago a document's time was, in ms. */
export const since = (text) => now() - Date.parse(text);

/** Take in an event. */
export function feed(name, document) {
  events[name]?.(document);
}

const events = {
  state(all) {
    for (const name of ['info', 'stats', 'health', 'metrics']) events[name](all[name]);
    const known = new Map((all.cameras ?? []).map((each) => [each.camera_id, each]));
    for (const id of state.cameras.keys()) if (!known.has(id)) state.cameras.delete(id);
    for (const each of known.values()) {
      const { settings, result, image, status, seen_at: seenAt } = each;
      const location = each.location ?? result?.location ?? null; // frames may say it themselves
      Object.assign(camera(each.camera_id), { location, settings, result, image, status, seenAt });
      changed(`camera:${each.camera_id}`);
    }
    state.jobs.clear();
    for (const each of all.working ?? []) keep(each);
    changed('cameras', 'work');
  },
  info(info) { state.info = info; changed('info'); },
  health(health) { state.health = health; changed('health'); },
  metrics(metrics) { state.metrics = metrics; changed('metrics'); },
  stats(stats) {
    state.stats = stats;
    state.queued = { ...(stats?.queue_by_priority ?? {}) };
    if (stats?.queue_size === 0) drop((job) => job.status === 'queued');
    if (stats?.active_jobs === 0) drop((job) => job.status === 'processing');
    changed('stats', 'work');
  },
  status(status) {
    learn(status.timestamp);
    const it = camera(status.camera_id);
    it.status = status;
    if (status.status === 'queued' || status.status === 'rejected') {
      it.seenAt = status.timestamp;
      changed(`frame:${it.id}`);
    }
    count(status);
    keep(status);
    changed(`camera:${it.id}`, 'work');
  },
  result(result) {
    learn(result.timestamp);
    const it = camera(result.camera_id);
    state.jobs.delete(key(result));
    if (result.result) note(result.result);
    if (result.result && result.is_newest !== false) {
      it.result = result;
      it.image = result.image ?? null;
      it.location = result.location ?? it.location;
    }
    changed(`camera:${it.id}`, `result:${it.id}`, 'work');
  },
  settings(said) {
    const it = camera(said.camera_id);
    it.settings = said.settings ?? said;
    it.location = it.settings.location ?? it.location;
    changed(`camera:${it.id}`, `settings:${it.id}`);
  },
  camera(said) {
    if (said.action === 'forgotten') {
      state.cameras.delete(said.camera_id);
      changed('cameras', `camera:${said.camera_id}`);
      return;
    }
    const it = camera(said.camera_id);
    it.location = said.location ?? it.location;
    it.settings = said.settings ?? it.settings;
    changed(`camera:${it.id}`);
  },
  batch(batch) {
    state.batches.delete(batch.batch_id);
    state.batches.set(batch.batch_id, batch);
    trim(state.batches, MOST_BATCHES);
    changed('work');
  },
  log(line) { add({ kind: line.level, code: line.code, message: line.message, at: line.timestamp }); },
  dead_letter(letter) {
    const { camera_id: id, error, timestamp: at } = letter;
    add({ kind: 'refused', code: error?.code, message: error?.message, camera: id ?? letter.topic, at });
  },
};

/** Names of all events. */
export const EVENTS = Object.keys(events);

function camera(id) {
  if (typeof id !== 'string') throw new TypeError('no camera');
  let it = state.cameras.get(id);
  if (it === undefined) {
    it = { id, location: null, settings: null, result: null, image: null, status: null, seenAt: null };
    state.cameras.set(id, it);
    changed('cameras');
  }
  return it;
}

const key = (document) => `${document.camera_id}/${document.job_id}`;

function keep(status) {
  state.jobs.delete(key(status));
  if (status.status !== 'queued' && status.status !== 'processing') return;
  state.jobs.set(key(status), status);
  trim(state.jobs, MOST_JOBS);
}

function drop(isOver) {
  for (const [name, job] of state.jobs) if (isOver(job)) state.jobs.delete(name);
}

function trim(map, most) {
  while (map.size > most) map.delete(map.keys().next().value);
}

/** The queue moves between two `stats`, which put it right. */
function count(status) {
  const before = state.jobs.get(key(status))?.status;
  const step = (status.status === 'queued') - (before === 'queued' || (!before && status.status === 'processing'));
  const name = status.priority;
  if (step && PRIORITIES.includes(name)) state.queued[name] = Math.max(0, (state.queued[name] ?? 0) + step);
}

/** The newest buckets, up to now; those without captions are empty. */
export function buckets() {
  const last = Math.floor(Date.now() / BUCKET_MS);
  const byTime = new Map(state.buckets.map((each) => [each.at, each]));
  return Array.from({ length: NUM_BUCKETS }, (_, i) => byTime.get(last - NUM_BUCKETS + 1 + i));
}

/** Captions of before the page was opened, for the charts. */
export function remember(documents) {
  const known = new Map(state.buckets.filter((each) => each.isLive).map((each) => [each.at, each]));
  for (const { result, timestamp } of documents) {
    const at = Math.floor((Date.now() - since(timestamp)) / BUCKET_MS);
    if (!result || known.get(at)?.isLive) continue;
    const bucket = known.get(at) ?? { at, captions: 0, seconds: 0 };
    known.set(at, bucket);
    bucket.captions += 1;
    bucket.seconds += (result.queue_time ?? 0) + (result.processing_time ?? 0);
  }
  state.buckets = [...known.values()].sort((a, b) => a.at - b.at).slice(-NUM_BUCKETS);
  changed('stats');
}

function note(result) {
  const at = Math.floor(Date.now() / BUCKET_MS);
  let bucket = state.buckets.at(-1);
  if (bucket?.at !== at) state.buckets.push(bucket = { at, captions: 0, seconds: 0, isLive: true });
  if (state.buckets.length > NUM_BUCKETS) state.buckets.shift();
  bucket.captions += 1;
  bucket.seconds += (result.queue_time ?? 0) + (result.processing_time ?? 0);
}

function add(line) {
  state.lines.unshift(line);
  state.lines.length = Math.min(state.lines.length, MOST_LINES);
  changed('lines');
}

function learn(timestamp) {
  const ahead = Date.now() - Date.parse(timestamp);
  if (Number.isFinite(ahead)) skew = skew === null ? ahead : Math.min(skew, ahead);
}
