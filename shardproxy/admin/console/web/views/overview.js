// The fleet at a glance: what needs a look, then each cluster with its shards and nodes, then the proxies.
import {shardActions, clusterActions} from '../actions.js';
import {Chart, historyOf} from '../chart.js';
import {bytes, count, duration, latency, moment, percent, plural, rate} from '../format.js';
import {html, useState} from '../lib.js';
import {Badge, Empty, Notice, State, Table} from '../parts.js';
import {SlotBar} from '../slots.js';
import {clusterSummary, lasting, nodeKind, shardHealth, shardName, slotCount, syncKind, troubles} from '../words.js';

const FEW = 12; // shards that are shown with their nodes from the beginning
const TOLD = 8; // troubles at once

export function Overview({live, clusters, ask, mayAct}) {
  const {status, process, topology} = live.known;
  return html`
    <${Troubles} found=${troubles(status, process, clusters)} clusters=${clusters} />
    ${!clusters.length && html`<${Empty}>No cluster is configured. Write one under <code>clusters:</code> in the config, and reload it.<//>`}
    ${clusters.map((name) => html`<${Cluster} key=${name} name=${name} live=${live} ask=${ask} mayAct=${mayAct} />`)}
    <${Proxies} status=${status} draining=${topology.draining} />
  `;
}

function Troubles({found, clusters}) {
  const [all, setAll] = useState(false);
  const shown = all ? found : found.slice(0, TOLD);
  return html`<section class="card troubles" aria-labelledby="troubles">
    <h2 id="troubles">${found.length ? 'Needs a look' : clusters.length ? 'All is well' : 'Nothing to watch'}</h2>
    <p role="status" class=${found.length ? 'unseen' : 'quiet'}>
      ${found.length ? `${plural(found.length, 'thing needs', 'things need')} a look` : clusters.length ? 'Every node of every shard is as it should be.' : 'There is no cluster yet.'}
    </p>
    ${found.length > 0 && html`<ul>${shown.map(({kind, text}) => html`<li><${State} kind=${kind}>${text}<//></li>`)}</ul>`}
    ${found.length > TOLD && html`<button type="button" class="quiet" onClick=${() => setAll(!all)}>${all ? 'Show less' : `Show all ${found.length}`}</button>`}
  </section>`;
}

function Cluster({name, live, ask, mayAct}) {
  const {status, topology, process} = live.known;
  const served = topology.clusters[name];
  const watched = status.clusters[name];
  const rates = live.rates[name];
  const busiest = rates ? busiestOf(rates) : null;
  const cluster = watched || {engine: served.engine, shards: served.shards.map(asWatched), is_paused: false};
  const summary = clusterSummary(cluster);
  const history = (value) => historyOf(live, name, value);
  return html`<section class="card cluster" aria-labelledby="c-${name}">
    <div class="head">
      <h2 id="c-${name}">${name}</h2>
      <${Badge}>${served.engine || 'not served yet'}<//>
      ${cluster.is_paused && html`<${Badge} kind="warn">paused<//>`}
      ${cluster.decider && html`<${Badge}>decided by ${cluster.decider.from}<//>`}
      <${State} kind=${summary.kind}>${summary.text}<//>
      <span class="gap"></span>
      ${watched && cluster.engine === 'redis' && html`<button type="button" onClick=${() => ask(`Cluster ${name}`, clusterActions(name, cluster, process?.kinds_of_jobs || []))}>Act on ${name}…</button>`}
    </div>
    <p class="where">${served.endpoints.length ? html`Applications connect to ${served.endpoints.map((one, n) => html`${n ? ', ' : ''}<code>${one}</code>`)}` : 'It listens nowhere yet'}${served.epoch != null ? `; epoch ${served.epoch}` : ''}</p>
    <dl class="figures">
      <div><dt>Requests</dt><dd>${rate(rates?.requests_per_second)}</dd></div>
      <div><dt>p50 of ${busiest?.name || 'the busiest class'}</dt><dd>${latency(busiest?.p50)}</dd></div>
      <div><dt>p99</dt><dd>${latency(busiest?.p99)}</dd></div>
      <div><dt>p99.9</dt><dd>${latency(busiest?.p999)}</dd></div>
      <div><dt>Clients</dt><dd>${count(rates?.clients ?? served.clients)}</dd></div>
      <div><dt>In</dt><dd>${rates ? `${bytes(rates.received)}/s` : '–'}</dd></div>
      <div><dt>Out</dt><dd>${rates ? `${bytes(rates.sent)}/s` : '–'}</dd></div>
    </dl>
    ${cluster.job && html`<${Notice}>${cluster.job.kind} ${cluster.job.id} is ${cluster.job.state}${cluster.job.progress.total ? `, ${percent(cluster.job.progress.done / cluster.job.progress.total)}` : ''}: see <a href="#/jobs">Jobs</a>.<//>`}
    ${cluster.scaling && html`<p class="where">Scaling: ${cluster.scaling.text || `${cluster.scaling.shards} shards, ${cluster.scaling.wanted} wanted`}</p>`}
    <div class="charts">
      <${Chart} title="Requests a second" format=${rate} series=${[{name: 'all', kind: 's0', values: history((of) => of.requests_per_second)}]} />
      <${Chart} title="Time to answer, busiest class" log format=${latency} series=${[
        {name: 'p50', kind: 's0', values: history((of) => busiestOf(of)?.p50)},
        {name: 'p99', kind: 's1', values: history((of) => busiestOf(of)?.p99)},
        {name: 'p99.9', kind: 's2', values: history((of) => busiestOf(of)?.p999)},
      ]} />
    </div>
    <${SlotBar} shards=${cluster.shards} />
    <${Shards} name=${name} cluster=${cluster} rates=${rates} ask=${ask} mayAct=${mayAct} canAct=${!!watched && cluster.engine === 'redis'} />
    ${cluster.caching && html`<${Caching} name=${name} caching=${cluster.caching} />`}
  </section>`;
}

/** The class of commands with the most requests, and its times. */
function busiestOf(of) {
  const [name, one] = Object.entries(of.classes).reduce((most, each) => (each[1].rate > (most[1]?.rate || 0) ? each : most), ['', null]);
  return one && {name, ...one};
}

/** A shard of the topology where nobody watches it. */
const asWatched = (shard) => ({
  shard: shard.index, name: shard.name, state: 'ok', slots: shard.slots, held: [], is_automatic: false, is_covered: false, why_not: null,
  nodes: shard.nodes.map((node) => ({...node, state: 'unknown', reason: '', since: null, lag: null, sync: null, sync_reason: '', version: null})),
});

function Shards({name, cluster, rates, ask, canAct}) {
  const [text, setText] = useState('');
  const [ill, setIll] = useState(false);
  const [open, setOpen] = useState({});
  const many = cluster.shards.length > FEW;
  const wanted = text.trim().toLowerCase();
  const shown = cluster.shards.filter((shard) => {
    if (ill && shardHealth(shard).kind === 'good') return false;
    return !wanted || shardName(shard).toLowerCase() === wanted || shard.nodes.some((node) => node.address.includes(wanted) || (node.zone || '').toLowerCase() === wanted);
  });
  const isOpen = (shard) => open[shard.shard] ?? (!many || shardHealth(shard).kind !== 'good');
  return html`
    ${many &&
    html`<div class="filters">
      <label>Find <input type="search" placeholder="shard, address or zone" value=${text} onInput=${(e) => setText(e.target.value)} /></label>
      <label class="check"><input type="checkbox" checked=${ill} onChange=${(e) => setIll(e.target.checked)} /> only what is not ok</label>
      <span role="status">${count(shown.length)} of ${plural(cluster.shards.length, 'shard')}</span>
    </div>`}
    <table class="data shards">
      <caption class="unseen">Shards of ${name}, each followed by its nodes</caption>
      <thead>
        <tr>
          <th scope="col">Shard, node</th><th scope="col">Role</th><th scope="col">State</th><th scope="col" class="num">Slots</th>
          <th scope="col" class="num">Requests</th><th scope="col" class="num">Connections</th><th scope="col" class="num">Lag</th>
          <th scope="col">Zone</th><th scope="col">Version</th><th scope="col"><span class="unseen">Actions</span></th>
        </tr>
      </thead>
      ${shown.map((shard) => html`<${Shard} key=${shard.shard} cluster=${name} shard=${shard} rates=${rates} ask=${ask} canAct=${canAct}
        isOpen=${isOpen(shard)} turn=${() => setOpen({...open, [shard.shard]: !isOpen(shard)})} />`)}
      ${!shown.length && html`<tbody><tr class="none"><td colspan="10">${cluster.shards.length ? 'No shard is like that.' : 'No shard is known yet.'}</td></tr></tbody>`}
    </table>`;
}

function Shard({cluster, shard, rates, ask, canAct, isOpen, turn}) {
  const label = shardName(shard);
  const health = shardHealth(shard);
  const connections = shard.nodes.reduce((sum, node) => sum + (rates?.nodes?.[node.address]?.connections || 0), 0);
  const lags = shard.nodes.map((node) => node.lag).filter((lag) => lag != null);
  return html`<tbody class="shard">
    <tr class="of-shard">
      <th scope="rowgroup">
        <button type="button" class="turn" aria-expanded=${isOpen} aria-label="Shard ${label}: ${isOpen ? 'hide' : 'show'} its nodes" onClick=${turn}><span aria-hidden="true">${isOpen ? '▾' : '▸'}</span> ${label}</button>
      </th>
      <td class="role">${plural(shard.nodes.length, 'node')}</td>
      <td data-label="State"><${State} kind=${health.kind} title=${shard.why_not || ''}>${health.text}<//></td>
      <td class="num" data-label="Slots" title=${shard.slots.join(', ')}>${shard.slots.length ? count(slotCount(shard)) : ''}</td>
      <td class="num" data-label="Requests">${rate(rates?.shards?.[shard.shard]?.rate)}</td>
      <td class="num" data-label="Connections">${rates ? count(connections) : '–'}</td>
      <td class="num" data-label="Lag">${lags.length ? bytes(Math.max(...lags)) : ''}</td>
      <td></td><td></td>
      <td class="act">${canAct && html`<button type="button" class="small" aria-label="Act on shard ${label} of ${cluster}" onClick=${() => ask(`Shard ${label} of ${cluster}`, shardActions(cluster, shard))}>Act…</button>`}</td>
    </tr>
    ${isOpen && [...shard.nodes].sort((a, b) => (a.role === 'primary' ? 0 : 1) - (b.role === 'primary' ? 0 : 1)).map((node) => html`<${Node} key=${node.address} node=${node} rates=${rates} />`)}
  </tbody>`;
}

function Node({node, rates}) {
  const of = rates?.nodes?.[node.address];
  const since = node.began != null && node.state !== 'up' ? ` for ${duration(lasting(node))}` : '';
  const isAstray = ['warn', 'bad'].includes(syncKind(node));
  return html`<tr class="of-node ${node.role}">
    <th scope="row"><code>${node.address}</code></th>
    <td class="role">${node.role}</td>
    <td data-label="State">
      <${State} kind=${nodeKind(node)}>${node.state}${since}<//>
      ${isAstray && html` <${State} kind=${syncKind(node)}>${node.sync}<//>`}
      ${node.reason && node.state !== 'up' && html`<span class="why">${node.reason}</span>`}
      ${isAstray && node.sync_reason && html`<span class="why">${node.sync_reason}</span>`}
    </td>
    <td class="num none"></td>
    <td class="num" data-label="Requests">${rate(of?.rate)}</td>
    <td class="num" data-label="Connections">${of ? count(of.connections) : '–'}</td>
    <td class="num" data-label="Lag">${node.role === 'replica' ? (node.lag == null ? '?' : bytes(node.lag)) : ''}</td>
    <td data-label="Zone">${node.zone || ''}</td>
    <td data-label="Version">${node.version || ''}</td>
    <td class="none"></td>
  </tr>`;
}

function Caching({name, caching}) {
  return html`<h3>Caching</h3>
    <${Table} caption="Caching rules of ${name}" rows=${caching.rules} rowKey=${(rule) => rule.match} columns=${[
      {key: 'match', label: 'Rule', head: true, render: (rule) => html`<code>${rule.match}</code>`},
      {key: 'hits', label: 'Hits', num: true, render: (rule) => count(rule.hits)},
      {key: 'ratio', label: 'Ratio', num: true, render: (rule) => (rule.hits + rule.misses ? percent(rule.hits / (rule.hits + rule.misses)) : '–')},
      {key: 'loads', label: 'Loads', num: true, render: (rule) => count(rule.loads)},
      {key: 'took', label: 'Took', num: true, render: (rule) => latency(rule.load_seconds)},
      {key: 'stale', label: 'Stale', num: true, render: (rule) => count(rule.stale)},
      {key: 'failures', label: 'Failures', num: true, render: (rule) => count(rule.failures)},
      {key: 'writes', label: 'Writes', num: true, render: (rule) => count(rule.writes)},
    ]} />`;
}

function Proxies({status}) {
  const {store, proxies} = status;
  if (!proxies || proxies.length < 2) return null;
  return html`<section class="card" aria-labelledby="proxies">
    <h2 id="proxies">Proxies</h2>
    <p class="where">They agree through ${store.kind}; ${store.is_synced ? 'this one is in touch with it' : 'this one is out of touch with it'}.</p>
    <${Table} caption="Proxies that share the store" rows=${proxies} rowKey=${(one) => one.name} columns=${[
      {key: 'label', label: 'Proxy', head: true, render: (one) => html`${one.label || one.name} ${one.is_self && html`<${Badge}>this one<//>`}`},
      {key: 'state', label: 'State', render: (one) => html`<${State} kind=${one.is_draining ? 'warn' : 'good'}>${one.is_draining ? 'draining' : 'serving'}<//>`},
      {key: 'leads', label: 'Leads', render: (one) => one.leads.join(', ') || '–'},
      {key: 'clients', label: 'Clients', num: true, render: (one) => count(one.clients)},
      {key: 'version', label: 'Version', render: (one) => one.version},
      {key: 'zone', label: 'Zone', render: (one) => one.zone || ''},
      {key: 'admin', label: 'Admin', render: (one) => html`<code>${one.admin}</code>`},
      {key: 'started', label: 'Started', render: (one) => (one.started ? moment(one.started) : '')},
    ]} />
  </section>`;
}
