// What happened: changes of primaries with their causes, and everything else.
import {duration, moment} from '../format.js';
import {html, useState} from '../lib.js';
import {Empty, Segments, State, Table, useDocument} from '../parts.js';
import {EVENT_KINDS, failovers} from '../words.js';

const KINDS = [['all', 'All'], ['failover', 'Failovers'], ['job', 'Jobs'], ['alarm', 'Alarms']];
const MATCHES = {all: /./, failover: /Failover|Switchover|Primary|Node/, job: /Job|Snapshot|Scaling|Persistence/, alarm: /Alarm/};

export function Events({live, clusters}) {
  const [kind, setKind] = useState('all');
  const [older, setOlder] = useState(false);
  const asked = useDocument(older ? 'api/events?count=1000' : null, 10000);
  const events = ((older && asked.data) || live.known.events || {events: []}).events.filter((event) => clusters.includes(event.cluster));
  const changes = failovers(events);
  const shown = [...events].sort((a, b) => b.number - a.number).filter((event) => MATCHES[kind].test(event.name));
  return html`
    <section class="card" aria-labelledby="changes">
      <h2 id="changes">Changes of primaries</h2>
      ${changes.length ? html`<${Timeline} changes=${changes} />` : html`<${Empty}>No primary was replaced of late.<//>`}
      ${changes.length > 0 &&
      html`<${Table} caption="Failovers and switchovers, the newest first" rows=${changes} rowKey=${(one) => one.key} columns=${[
        {key: 'when', label: 'When', head: true, render: (one) => moment(one.began)},
        {key: 'what', label: 'What', render: (one) => one.name},
        {key: 'shard', label: 'Shard', render: (one) => `${one.cluster}, ${one.shard ?? '–'}`},
        {key: 'outcome', label: 'Outcome', render: (one) => html`<${State} kind=${one.kind}>${one.ended ? (one.kind === 'good' ? 'done' : 'failed') : 'under way'}<//>`},
        {key: 'took', label: 'Took', num: true, render: (one) => (one.ended && one.ended !== one.began ? took(one) : '–')},
        {key: 'cause', label: 'Cause', wide: true, render: (one) => one.cause || '–'},
        {key: 'became', label: 'What became of it', wide: true, render: (one) => one.outcome},
      ]} />`}
    </section>
    <section class="card" aria-labelledby="all-events">
      <div class="head"><h2 id="all-events">Events</h2><span class="gap"></span><${Segments} label="Which events" value=${kind} options=${KINDS} onChange=${setKind} /></div>
      <${Table} caption="Events, the newest first" rows=${shown} rowKey=${(event) => event.number} empty="No such event." columns=${[
        {key: 'time', label: 'Time', head: true, render: (event) => html`<time datetime=${event.time}>${moment(event.time)}</time>`},
        {key: 'name', label: 'Event', render: (event) => html`<${State} kind=${EVENT_KINDS[event.name] || 'idle'}>${event.name}<//>`},
        {key: 'shard', label: 'Shard', render: (event) => (event.shard == null ? event.cluster : `${event.cluster}, ${event.shard_name || event.shard}`)},
        {key: 'message', label: 'Message', wide: true, render: (event) => event.message},
      ]} />
      ${!older && events.length >= 100 && html`<button type="button" onClick=${() => setOlder(true)}>Show older ones</button>`}
    </section>`;
}

function took(one) {
  const seconds = (new Date(one.ended) - new Date(one.began)) / 1000;
  return seconds < 60 ? `${seconds.toFixed(2)} s` : duration(seconds);
}

/** When they were, from the oldest until now. */
function Timeline({changes}) {
  const begin = Math.min(...changes.map((one) => new Date(one.began).getTime()));
  const span = Math.max(Date.now() - begin, 60000) * 1.04;
  const x = (time) => 20 + ((new Date(time).getTime() - begin) / span) * 960;
  return html`<figure class="timeline">
    <svg viewBox="0 0 1000 40" preserveAspectRatio="none" role="img" aria-label="${changes.length} changes of primaries since ${moment(changes.at(-1).began)}">
      <line class="axis" x1="0" x2="1000" y1="28" y2="28" />
      ${changes.map((one) => html`<line key=${one.key} class="tick ${one.kind}" x1=${x(one.began)} x2=${x(one.began)} y1="6" y2="28"><title>${moment(one.began)}: ${one.name} of ${one.cluster}, shard ${one.shard}</title></line>`)}
    </svg>
    <div class="times" aria-hidden="true"><span>${moment(new Date(begin).toISOString())}</span><span>now</span></div>
  </figure>`;
}
