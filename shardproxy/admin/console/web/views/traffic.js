// Throughput and times to answer, by class of command.
import {Chart, CLASSES, historyOf} from '../chart.js';
import {latency, percent, rate} from '../format.js';
import {html, useState} from '../lib.js';
import {Empty, Segments, Table} from '../parts.js';

const TIMES = [['p50', 'p50'], ['p99', 'p99'], ['p999', 'p99.9']];
const MEANS = {
  read: 'one key, one shard, nothing changed', write: 'one key, one shard', split: 'keys of several shards: counted once for each shard', offload: 'answered by the proxy itself',
  block: 'waits at a node', publish: 'messages', wait: 'waits for replicas',
};

export function Traffic({live, clusters}) {
  return clusters.length ? clusters.map((name) => html`<${Cluster} key=${name} name=${name} live=${live} />`) : html`<${Empty}>No cluster is configured.<//>`;
}

function Cluster({name, live}) {
  const [quantile, setQuantile] = useState('p99');
  const rates = live.rates[name];
  if (!rates) return html`<section class="card"><h2>${name}</h2><${Empty}>Rates come within two seconds.<//></section>`;
  const history = live.history[name] || [];
  const seen = CLASSES.filter((one) => rates.classes[one]).filter((one) => history.some(({of}) => of.classes[one]?.rate));
  const kind = (one) => `s${CLASSES.indexOf(one)}`;
  const rows = CLASSES.filter((one) => rates.classes[one]).map((one) => ({name: one, ...rates.classes[one]}));
  const total = rates.requests_per_second;
  return html`<section class="card" aria-labelledby="t-${name}">
    <div class="head"><h2 id="t-${name}">${name}</h2><span class="gap"></span><${Segments} label="Percentile of ${name}" value=${quantile} options=${TIMES} onChange=${setQuantile} /></div>
    <div class="charts tall">
      <${Chart} title="Requests a second, by class" format=${rate} series=${seen.map((one) => ({name: one, kind: kind(one), values: historyOf(live, name, (of) => of.classes[one]?.rate)}))} />
      <${Chart} title="Time to answer, ${TIMES.find(([key]) => key === quantile)[1]}" log format=${latency} series=${seen.map((one) => ({name: one, kind: kind(one), values: historyOf(live, name, (of) => of.classes[one]?.[quantile])}))} />
    </div>
    <${Table} caption="Classes of commands of ${name}, now" rows=${rows} rowKey=${(row) => row.name} columns=${[
      {key: 'class', label: 'Class', head: true, render: (row) => html`<span class="key ${kind(row.name)}" aria-hidden="true"></span> ${row.name}`},
      {key: 'means', label: 'Which', render: (row) => html`<span class="quiet">${MEANS[row.name] || ''}</span>`},
      {key: 'rate', label: 'Requests', num: true, by: (row) => row.rate, render: (row) => rate(row.rate)},
      {key: 'share', label: 'Share', num: true, render: (row) => (total ? percent(row.rate / total) : '–')},
      {key: 'p50', label: 'p50', num: true, by: (row) => row.p50, render: (row) => latency(row.p50)},
      {key: 'p99', label: 'p99', num: true, by: (row) => row.p99, render: (row) => latency(row.p99)},
      {key: 'p999', label: 'p99.9', num: true, by: (row) => row.p999, render: (row) => latency(row.p999)},
    ]} />
    <p class="quiet">Times are of the last five seconds, from a request's arrival to its reply; a class without requests has none.</p>
  </section>`;
}
