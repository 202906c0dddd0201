/** Figures as people read them. */

const NUMBER = new Intl.NumberFormat('en');
const STEPS = [[86400, 'd'], [3600, 'h'], [60, 'min']];

export const PRIORITIES = ['critical', 'high', 'normal', 'low'];

/** `1,234`. */
export const number = (value) => NUMBER.format(value);

/** `Critical`. */
export const capital = (word) => word.charAt(0).toUpperCase() + word.slice(1);

/** How long ago, short: `now`, `12 s`, `3 min`, `2 h`, `4 d`. */
export function age(milliseconds) {
  const s = Math.max(0, milliseconds / 1000);
  if (s < 1.5) return 'now';
  for (const [size, unit] of STEPS) if (s >= size) return `${Math.floor(s / size)} ${unit}`;
  return `${Math.floor(s)} s`;
}

/** A duration: `0.08 s`, `1.4 s`, `32 s`, `5 min`. */
export function duration(s) {
  if (s === null || s === undefined) return '–';
  if (s < 1) return `${s.toFixed(2)} s`;
  if (s < 10) return `${s.toFixed(1)} s`;
  return s < 100 ? `${Math.round(s)} s` : `${Math.round(s / 60)} min`;
}

/** `3.2 GB`. */
export const gigabytes = (bytes) => `${(bytes / 1e9).toFixed(1)} GB`;

/** `queue full` of `queue_full`. */
export const plain = (code) => String(code).replaceAll('_', ' ');

/** What a camera is called, and by what name it is asked. */
export const nameOf = (camera) => camera.location || camera.id;

/** `2 person, dog`; empty where nothing was looked for. */
export function found(result) {
  const all = [...(result?.objects ?? []), ...(result?.points ?? [])].filter((each) => each.count);
  return all.map((each) => (each.count > 1 ? `${each.count} × ${each.label}` : each.label)).join(', ');
}

/** Its caption, or what else it answered. */
export function caption(result) {
  return result?.caption || result?.answers?.map((each) => each.answer).join(' · ') || found(result) || '';
}

/** Date and time, the date only where it is another day. */
export function moment(text) {
  const at = new Date(text);
  const time = at.toLocaleTimeString(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
  const isToday = at.toDateString() === new Date().toDateString();
  return isToday ? time : `${at.toLocaleDateString(undefined, { day: 'numeric', month: 'short' })} ${time}`;
}
