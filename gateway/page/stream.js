/** The one event source; when it is lost, that is said, and it comes back. */

import { call } from './calls.js';
import { EVENTS, changed, feed, state } from './state.js';

const FIRST_WAIT_MS = 2000, LONGEST_WAIT_MS = 30_000;

let source = null;
let wait = FIRST_WAIT_MS;

/** Listen from now on. */
export function connect() {
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
    connect();
  }, wait);
  wait = Math.min(LONGEST_WAIT_MS, wait * 2);
}
