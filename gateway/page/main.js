/** Puts the page together: which part of it is shown, its tools, its keys. */

import { ask, takePictures } from './ask.js';
import { call } from './calls.js';
import { CameraPage, SearchPage } from './camera.js';
import { el, iconButton, setText } from './dom.js';
import { Grid } from './grid.js';
import { confirmed, dialog, say, toast } from './notice.js';
import { Service } from './service.js';
import { changed, remember, state, watch } from './state.js';
import { connectWhileSeen } from './stream.js';
import { caption, duration, moment, nameOf, number } from './words.js';

const KEYS = [
  ['Arrows', 'from camera to camera'], ['Enter', 'the camera that is marked'], ['/', 'find cameras, search captions'],
  ['a', 'ask about a picture'], ['p', 'pause, and go on'], ['w', 'wall, and back'], ['t', 'light, dark, as the system'],
  ['Escape', 'close, back to all cameras'], ['?', 'this help'],
];
const THEMES = ['auto', 'light', 'dark'];
const WORDS = { running: 'Running', paused: 'Paused', loading: 'Loading the model', unloaded: 'No model loaded', failed: 'The model failed', stopping: 'Stopping' };

const byId = (id) => document.getElementById(id);
const query = byId('query');
const main = byId('main');
const service = new Service(byId('service'));
let shown = null;

function route() {
  const [, kind, rest = ''] = /^#\/(\w*)\/?(.*)$/.exec(location.hash) ?? [null, '', ''];
  shown?.close();
  document.body.dataset.page = kind || 'cameras';
  shown = page(kind, unescaped(rest));
  main.replaceChildren(shown.node);
  shown.open();
  document.title = kind ? `${shown.title} · moondream2mqtt` : 'moondream2mqtt';
  scrollTo(0, 0);
}

function page(kind, rest) {
  if (kind === 'camera' && rest) return new CameraPage({ id: rest });
  if (kind === 'search') return new SearchPage({ query: rest });
  return new Grid({ isWall: kind === 'wall', query: () => query.value });
}

function unescaped(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const pause = iconButton('pause', 'Pause (p)', togglePause);
const tools = [
  iconButton('picture', 'Ask about a picture (a)', ask),
  pause,
  iconButton('clear', 'Clear the queue', clear),
  iconButton('wall', 'Wall (w)', toggleWall),
  iconButton('theme', 'Light or dark (t)', toggleTheme),
  iconButton('help', 'Keys (?)', help),
];

async function togglePause() {
  const isPaused = state.stats?.processing === false;
  try {
    const said = await call('POST', isPaused ? 'queue/resume' : 'queue/pause', {});
    if (state.stats) Object.assign(state.stats, { processing: said.processing, system_status: said.processing ? 'running' : 'paused' });
    changed('stats');
    toast(isPaused ? 'Frames are captioned again.' : 'Paused: frames are taken and wait.');
  } catch (error) {
    toast(error.message);
  }
}

async function clear() {
  const waiting = Object.values(state.queued).reduce((sum, each) => sum + each, 0);
  const which = waiting === 1 ? 'The frame that waits' : `All ${number(waiting)} frames that wait`;
  if (!(await confirmed('Clear the queue?', `${which} will be cancelled, without a caption. This cannot be undone.`, 'Clear'))) return;
  try {
    const { count } = await call('POST', 'queue/clear', {});
    toast(count === 1 ? 'One frame was cancelled.' : `${number(count)} frames were cancelled.`);
  } catch (error) {
    toast(error.message);
  }
}

function toggleWall() {
  location.hash = document.body.dataset.page === 'wall' ? '#/' : '#/wall';
}

function toggleTheme() {
  const root = document.documentElement;
  const theme = THEMES[(THEMES.indexOf(root.dataset.theme) + 1) % THEMES.length];
  root.dataset.theme = theme;
  try {
    localStorage.setItem('theme', theme);
  } catch { /* then only for now */ }
  toast({ auto: 'As light or dark as the system.', light: 'Light.', dark: 'Dark.' }[theme]);
}

function help() {
  const keys = KEYS.map(([key, what]) => el('div', {}, el('dt', {}, el('kbd', {}, key)), el('dd', {}, what)));
  const more = el('p', { class: 'quiet' }, 'For programs: ', el('a', { href: 'docs' }, 'all paths of the service, to be tried'), '.');
  const node = dialog('Keys', el('dl', { class: 'keys' }, ...keys), more, el('div', { class: 'buttons' }, el('button', { type: 'button', onclick: () => node.close() }, 'Close')));
}

const PRESSED = { '?': help, a: ask, p: togglePause, w: toggleWall, t: toggleTheme, '/': () => (main.querySelector('input[type=search]') ?? query).focus() };

addEventListener('keydown', (event) => {
  const isTyping = event.target.closest?.('input:not([type=checkbox]), textarea, select');
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
  if (event.key === 'Escape') {
    if (isTyping) {
      if (event.target === query) find('');
      event.target.blur();
    } else if (document.body.dataset.page !== 'cameras') location.hash = '#/';
    return;
  }
  if (isTyping) return;
  if (PRESSED[event.key]) PRESSED[event.key]();
  else if (!shown.press(event.key)) return;
  event.preventDefault();
});

function find(words) {
  query.value = words;
  changed('query');
}

byId('find').addEventListener('submit', (event) => {
  event.preventDefault();
  location.hash = query.value.trim() ? `#/search/${encodeURIComponent(query.value.trim())}` : '#/';
});
query.addEventListener('input', () => {
  if (!['cameras', 'wall'].includes(document.body.dataset.page)) return;
  changed('query');
});

function update(changes) {
  shown.update(changes);
  if (changes.has('connection')) showConnection();
  if (['stats', 'work', 'connection', 'info'].some((each) => changes.has(each))) showBar();
  for (const change of changes) if (change.startsWith('result:')) speak(change.slice(7));
}

/** The charts begin with the last ten minutes, as far as a page of captions tells of them. */
async function recall() {
  const asked = new URLSearchParams({ since: new Date(Date.now() - 600_000).toISOString(), limit: 200 });
  const page = await call('GET', `captions?${asked}`).catch(() => null);
  if (page?.items) remember(page.items);
}

function showConnection() {
  const banner = byId('banner');
  document.body.classList.toggle('is-lost', !state.isConnected);
  banner.hidden = state.isConnected || state.lostAt === null;
  if (!banner.hidden) setText(banner, `No connection to the service since ${moment(state.lostAt)}. Trying again …`);
}

function showBar() {
  const { stats } = state;
  const status = !state.isConnected ? 'lost' : stats?.system_status ?? 'loading';
  byId('state').dataset.status = status;
  setText(byId('state'), status === 'lost' ? (state.lostAt ? 'No connection' : 'Connecting') : WORDS[status] ?? status);
  const waiting = Object.values(state.queued).reduce((sum, each) => sum + each, 0);
  const p50 = stats?.latency_overall?.p50;
  setText(byId('figures'), stats ? `${number(waiting)} waiting · ${Math.round(stats.captions_per_minute)} a minute${p50 === undefined ? '' : ` · ${duration(p50)}`}` : '');
  const isPaused = stats?.processing === false;
  const label = isPaused ? 'Go on (p)' : 'Pause (p)';
  if (pause.title === label) return;
  pause.title = label;
  pause.setAttribute('aria-label', label);
  pause.querySelector('use').setAttribute('href', isPaused ? '#i-play' : '#i-pause');
}

function speak(id) {
  const camera = state.cameras.get(id);
  const result = camera?.result?.result;
  if (result?.model_info?.priority === 'critical') say(`${nameOf(camera)}: ${caption(result)}`);
}

byId('tools').append(...tools);
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener('hashchange', route);
takePictures();
route();
showBar();
watch(update);
watch((changes) => service.update(changes));
connectWhileSeen(recall);
recall();
setInterval(() => {
  if (document.hidden) return;
  shown.tick();
  service.tick();
}, 1000);
