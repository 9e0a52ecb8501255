// Requests that took long, and where the time went.
import {latency, moment} from '../format.js';
import {html} from '../lib.js';
import {Empty, Missing, State, Table, useDocument} from '../parts.js';

const PHASES = [['waited', 'waited for its turn'], ['parked', 'for a primary'], ['upstream', 'on the way'], ['engine', 'in the engine'], ['client', 'client not reading']];

export function Slow({clusters}) {
  const slow = useDocument('api/slowlog?limit=128');
  if (!slow.data) return html`<section class="card"><${Missing} error=${slow.error} what="slow requests" /></section>`;
  const shown = clusters.filter((name) => slow.data.clusters[name]);
  if (!shown.length) return html`<${Empty}>No cluster has a slow log.<//>`;
  return shown.map((name) => {
    const {entries, threshold_us: threshold} = slow.data.clusters[name];
    return html`<section key=${name} class="card" aria-labelledby="s-${name}">
      <h2 id="s-${name}">${name}</h2>
      <p class="quiet">Requests that took ${latency(threshold / 1e6)} or longer, the newest first. Where the time went:</p>
      <ul class="legend">${PHASES.map(([key, text]) => html`<li key=${key}><span class="key p-${key}" aria-hidden="true"></span>${text}</li>`)}</ul>
      <${Table} caption="Slow log of ${name}" rows=${entries} rowKey=${(row) => row.id} sorted=${{key: 'at', down: false}} empty="No request took that long." columns=${[
        {key: 'at', label: 'When', head: true, by: (row) => -row.at, render: (row) => moment(row.at)},
        {key: 'took', label: 'Took', num: true, by: (row) => row.microseconds, render: (row) => latency(row.microseconds / 1e6)},
        {key: 'phases', label: 'Where the time went', render: (row) => html`<${Phases} row=${row} />`},
        {key: 'command', label: 'Command', wide: true, by: (row) => row.command, render: (row) => html`<code class="long">${(row.arguments?.length ? row.arguments : [row.command]).join(' ')}</code>`},
        {key: 'node', label: 'Node', render: (row) => (row.node ? html`<code>${row.node}</code>` : '–')},
        {key: 'client', label: 'Client', render: (row) => html`<code>${row.client}</code>${row.name ? ` ${row.name}` : ''}`},
        {key: 'user', label: 'User', render: (row) => row.user},
        {key: 'outcome', label: 'Outcome', render: (row) => html`<${State} kind=${row.outcome === 'ok' ? 'good' : 'bad'}>${row.outcome}<//>`},
      ]} />
    </section>`;
  });
}

function Phases({row}) {
  const known = PHASES.filter(([key]) => row.phases[key] > 0);
  const said = known.map(([key, text]) => `${text} ${latency(row.phases[key] / 1e6)}`).join(', ') || 'not known';
  let x = 0;
  return html`<svg class="phases" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label=${said}>
      <rect class="rest" width="100" height="10" />
      ${known.map(([key, text]) => {
        const width = (row.phases[key] / row.microseconds) * 100;
        x += width;
        return html`<rect key=${key} class="p-${key}" x=${x - width} width=${width} height="10"><title>${text} ${latency(row.phases[key] / 1e6)}</title></rect>`;
      })}
    </svg>
    <span class="most">${most(row)}</span>`;
}

/** Where most of it went, in words: the colours are not all there is. */
function most(row) {
  const [key, text] = PHASES.reduce((a, b) => ((row.phases[b[0]] || 0) > (row.phases[a[0]] || 0) ? b : a));
  return row.phases[key] ? `${text} ${latency(row.phases[key] / 1e6)}` : '';
}
