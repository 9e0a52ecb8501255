// The page: its frame, its views by what stands behind #/, and who asks.
import {get, onTokenAsked, tokenKnown, tokenSet} from './api.js';
import {Confirm} from './confirm.js';
import {html, render, useEffect, useRef, useState} from './lib.js';
import {Live} from './live.js';
import {Dialog, Notice, State} from './parts.js';
import {Advice} from './views/advice.js';
import {Clients} from './views/clients.js';
import {Config} from './views/config.js';
import {Events} from './views/events.js';
import {Jobs} from './views/jobs.js';
import {Keys} from './views/keys.js';
import {Overview} from './views/overview.js';
import {Slow} from './views/slow.js';
import {Traffic} from './views/traffic.js';

const VIEWS = [
  ['overview', 'Overview', Overview],
  ['traffic', 'Traffic', Traffic],
  ['events', 'Failovers and events', Events],
  ['keys', 'Keys', Keys],
  ['slow', 'Slow log', Slow],
  ['clients', 'Clients', Clients],
  ['jobs', 'Jobs', Jobs],
  ['advice', 'Advice', Advice],
  ['config', 'Config', Config],
];
const LINKS = {
  connecting: ['warn', 'Connecting'],
  live: ['good', 'Live'],
  polling: ['warn', 'Every few seconds'],
  lost: ['bad', 'No connection'],
  token: ['bad', 'Token wanted'],
  paused: ['idle', 'Paused'],
};
const THEMES = [['', 'Auto'], ['light', 'Light'], ['dark', 'Dark']];

function stored(key) {
  try {
    return localStorage.getItem(key) || '';
  } catch {
    return '';
  }
}

function store(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // it is as it is until the page is left
  }
}

const viewNamed = (hash) => VIEWS.find(([key]) => `#/${key}` === hash.split('?')[0]) || VIEWS[0];

function App() {
  const [, turn] = useState(0);
  const [live] = useState(() => new Live(() => turn((n) => n + 1)));
  const [hash, setHash] = useState(location.hash);
  const [chosen, setChosen] = useState('');
  const [asked, setAsked] = useState(null); // {title, actions}
  const [said, setSaid] = useState('');
  const [token, setToken] = useState(null); // why one is asked for
  const [given, setGiven] = useState(0); // how many were: views ask anew
  const [who, setWho] = useState(null);
  const [theme, setTheme] = useState(stored('shardproxy.theme'));
  const heading = useRef(null);

  useEffect(() => {
    live.start();
    return () => live.stop();
  }, []);
  useEffect(() => onTokenAsked((why) => setToken((before) => before ?? why)), []);
  useEffect(() => {
    get('api/process').then(setWho, () => setWho(null));
  }, [live.link.state === 'live']);
  useEffect(() => {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    store('shardproxy.theme', theme);
  }, [theme]);
  useEffect(() => {
    const moved = () => {
      setHash(location.hash);
      window.scrollTo(0, 0);
      if (heading.current) heading.current.focus({preventScroll: true});
    };
    addEventListener('hashchange', moved);
    return () => removeEventListener('hashchange', moved);
  }, []);
  useEffect(() => {
    if (!said) return undefined;
    const timer = setTimeout(() => setSaid(''), 10000);
    return () => clearTimeout(timer);
  }, [said]);

  const [key, title, View] = viewNamed(hash);
  const {status, process, topology} = live.known;
  const all = topology ? Object.keys(topology.clusters) : [];
  const clusters = all.includes(chosen) ? [chosen] : all;
  const mayAct = who?.rights === 'act';
  const ask = (name, actions) => setAsked({title: name, actions});
  const [kind, word] = LINKS[live.link.state];
  useEffect(() => {
    document.title = `${title} · shardproxy`;
  }, [title]);

  return html`<a class="skip" href="#main" onClick=${(e) => (e.preventDefault(), heading.current?.focus())}>Skip to the content</a>
    <header class="top">
      <a class="brand" href="#/overview"><img src=${new URL('icon.svg', import.meta.url).href} alt="" width="22" height="22" />shardproxy</a>
      ${process && html`<span class="version">${process.version}</span>`}
      <span class="link" role="status"><${State} kind=${kind} title=${live.link.why}>${word}<//></span>
      <span class="gap"></span>
      ${all.length > 1 &&
      html`<label><span class="unseen">Cluster</span>
        <select value=${clusters.length === 1 ? clusters[0] : ''} onChange=${(e) => setChosen(e.target.value)}>
          <option value="">All clusters</option>
          ${all.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
        </select>
      </label>`}
      <label><span class="unseen">Theme</span>
        <select class="theme" value=${theme} onChange=${(e) => setTheme(e.target.value)}>${THEMES.map(([value, text]) => html`<option key=${value} value=${value}>${text}</option>`)}</select>
      </label>
      <button type="button" class="quiet" onClick=${() => setToken('')}>${who ? `${who.caller || 'You'}: ${mayAct ? 'may act' : 'may read'}` : 'Token…'}</button>
    </header>
    <nav class="views" aria-label="Views">
      <ul>
        ${VIEWS.map(([name, text]) => html`<li key=${name}><a href="#/${name}" aria-current=${name === key ? 'page' : undefined}>${text}</a></li>`)}
      </ul>
    </nav>
    <main id="main">
      <h1 tabindex="-1" ref=${heading}>${title}</h1>
      ${['lost', 'token', 'polling'].includes(live.link.state) && html`<${Notice} kind=${kind}>${live.link.why} ${live.link.state === 'lost' ? 'Asked again by itself; what is shown may be old.' : ''}<//>`}
      ${status && topology
        ? html`<${View} key=${`${key} ${given}`} live=${live} clusters=${clusters} ask=${ask} mayAct=${mayAct} />`
        : live.link.state === 'connecting' && html`<p class="empty">Asking the proxy…</p>`}
    </main>
    <div class="toast" role="status">${said && html`<p>${said}<button type="button" class="quiet" onClick=${() => setSaid('')}>Close</button></p>`}</div>
    ${asked &&
    html`<${Confirm}
      title=${asked.title}
      actions=${asked.actions}
      mayAct=${mayAct}
      onClose=${() => setAsked(null)}
      onDone=${(text) => {
        setAsked(null);
        setSaid(text);
      }}
    />`}
    ${token != null &&
    html`<${TokenDialog}
      why=${token}
      who=${who}
      onClose=${() => setToken(null)}
      onSet=${(text) => {
        tokenSet(text);
        setToken(null);
        setGiven((n) => n + 1);
        get('api/process').then(setWho, () => setWho(null));
        live.again();
      }}
    />`}`;
}

function TokenDialog({why, who, onClose, onSet}) {
  const [text, setText] = useState('');
  const submit = (event) => {
    event.preventDefault();
    onSet(text);
  };
  return html`<${Dialog} title="Who asks" onClose=${onClose}>
    <form onSubmit=${submit}>
      ${why && html`<p class="bad">${why}</p>`}
      ${who && html`<p>The proxy knows you as <strong>${who.caller || 'nobody'}</strong>; you may ${who.rights === 'act' ? 'read and act' : who.rights}.</p>`}
      <p>A token of <code>admin_access.tokens</code> is kept in this tab alone, and forgotten with it.</p>
      <label class="field">Token<input type="password" name="token" autocomplete="off" value=${text} onInput=${(e) => setText(e.target.value)} /></label>
      <div class="buttons">
        <button type="button" onClick=${onClose}>Leave it</button>
        ${tokenKnown() && html`<button type="button" onClick=${() => onSet('')}>Forget the token</button>`}
        <button type="submit" class="primary" disabled=${!text.trim()}>Use the token</button>
      </div>
    </form>
  <//>`;
}

const root = document.getElementById('app');
root.replaceChildren();
render(html`<${App} />`, root);
