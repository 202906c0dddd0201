/** The one event source; when it is lost, that is said, and it comes back. */

import { call } from './calls.js';
import { EVENTS, changed, feed, state } from './state.js';

const FIRST_WAIT_MS = 2000, LONGEST_WAIT_MS = 30_000;
const UNSEEN_MS = 30_000; // a browser has six connections to a host: pages behind others give theirs back

let source = null;
let wait = FIRST_WAIT_MS;
let unseen = null;

function connect() {
  source?.close();
  source = new EventSource('events');
  for (const name of EVENTS) source.addEventListener(name, (event) => take(name, event.data));
  source.addEventListener('open', () => {
    wait = FIRST_WAIT_MS;
    Object.assign(state, { isConnected: true, lostAt: null });
    changed('connection');
  });
  source.addEventListener('error', lost);
}

/** Listen while the page is seen; `oncomeback` when it is seen again after a while. */
export function connectWhileSeen(oncomeback) {
  connect();
  document.addEventListener('visibilitychange', () => {
    clearTimeout(unseen);
    if (document.hidden) unseen = setTimeout(() => source.close(), UNSEEN_MS);
    else if (source.readyState === EventSource.CLOSED) {
      connect();
      oncomeback();
    }
  });
}

function take(name, data) {
  try {
    feed(name, JSON.parse(data));
  } catch (error) {
    console.warn(`event ${name}`, error);
  }
}

function lost() {
  if (state.isConnected || state.lostAt === null) {
    Object.assign(state, { isConnected: false, lostAt: Date.now() });
    changed('connection');
  }
  if (source.readyState !== EventSource.CLOSED) return; // it tries by itself
  setTimeout(async () => {
    await call('GET', 'cameras?limit=1').catch(() => null); // goes to the login where one is needed
    if (!document.hidden) connect();
  }, wait);
  wait = Math.min(LONGEST_WAIT_MS, wait * 2);
}
