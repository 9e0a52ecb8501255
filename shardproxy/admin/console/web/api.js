// Asks the admin API of the process that served this page, wherever a reverse proxy has put it.
// A token stays in this tab: it goes with the tab, and nothing else is told of it.

export const BASE = new URL('../', import.meta.url);
const KEY = `shardproxy.token:${BASE.pathname}`;

let token = remembered();
const askers = new Set();

function remembered() {
  try {
    return sessionStorage.getItem(KEY) || '';
  } catch {
    return ''; // a browser that keeps nothing
  }
}

export function tokenSet(text) {
  token = text.trim();
  try {
    if (token) sessionStorage.setItem(KEY, token);
    else sessionStorage.removeItem(KEY);
  } catch {
    // it is known until the page is left
  }
}

export const tokenKnown = () => token !== '';

/** Be told when a token is asked for. */
export function onTokenAsked(tell) {
  askers.add(tell);
  return () => askers.delete(tell);
}

/** A refusal, in the words of who refused. `isAbsent`: this process does not serve that document at all. */
export class ApiError extends Error {
  constructor(status, text, isAbsent = false) {
    super(text);
    this.status = status;
    this.isAbsent = isAbsent;
  }
}

/** Send a request; throws ApiError. */
export async function send(path, options = {}) {
  const headers = {...options.headers, ...(token ? {authorization: `Bearer ${token}`} : {})};
  let response;
  try {
    response = await fetch(new URL(path, BASE), {...options, headers, cache: 'no-store'});
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError(0, 'The proxy does not answer.');
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => null);
  const why = said && said.error;
  if (response.status === 401) for (const tell of askers) tell(why || 'a token is asked for');
  const isAbsent = !why && (response.status === 404 || response.status === 501 || response.status === 405);
  throw new ApiError(response.status, why || `The proxy answered ${response.status}.`, isAbsent);
}

export const get = async (path, options) => (await send(path, options)).json();

export const post = async (path, body) =>
  (
    await send(path, {
      method: 'POST',
      headers: {'content-type': 'application/json'},
      body: JSON.stringify(body),
    })
  ).json();

/** Events of a stream, as {event, data}; it ends when the stream does. */
export async function* events(path, signal) {
  const response = await send(path, {signal, headers: {accept: 'text/event-stream'}});
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const {done, value} = await reader.read();
    if (done) return;
    text += value;
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const fields = Object.fromEntries(
        text
          .slice(0, end)
          .split('\n')
          .map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]),
      );
      text = text.slice(end + 2);
      if (fields.data) yield {event: fields.event, data: JSON.parse(fields.data)};
    }
  }
}
