/** Requests to the service, below the address of the page; errors are sentences. */

const GONE = 'The service does not answer. Is it running?';

/** Ask for something; `body` goes as JSON. Throws an Error whose message can be shown. */
export async function call(method, path, body, signal) {
  const options = { method, signal, headers: { Accept: 'application/json' } };
  if (body !== undefined) {
    options.headers['Content-Type'] = 'application/json';
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Error(GONE);
  }
  if (answer.status === 401) {
    logIn();
    throw new Error('Please log in.');
  }
  const said = await answer.json().catch(() => null);
  if (answer.ok && said !== null) return said;
  throw new Error(sentence(said, answer.status));
}

/** A path of parts that come from elsewhere. */
export const path = (...parts) => parts.map(encodeURIComponent).join('/');

/** Where somebody shows the token, and comes back to the part of the page that is shown now. */
export function logIn() {
  location.assign(`login${location.hash}`);
}

function sentence(said, status) {
  const text = said?.error?.message ?? said?.message ?? said?.detail ?? said?.error;
  if (typeof text !== 'string' || !text) return `The service answered with ${status}.`;
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?…]$/.test(text) ? '' : '.');
}
