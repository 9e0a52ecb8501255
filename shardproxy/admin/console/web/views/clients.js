// Who is connected; and closing who should not be.
import {killAction} from '../actions.js';
import {bytes, count, duration} from '../format.js';
import {html, useEffect, useState} from '../lib.js';
import {Missing, Table, useDocument} from '../parts.js';

const FLAGS = [['is_blocked', 'blocked'], ['is_monitor', 'monitor'], ['is_tracking', 'tracking']];

export function Clients({clusters, live, ask}) {
  const [text, setText] = useState('');
  const [match, setMatch] = useState('');
  useEffect(() => {
    const timer = setTimeout(() => setMatch(text.trim()), 300);
    return () => clearTimeout(timer);
  }, [text]);
  const all = Object.keys(live.known.topology.clusters);
  const one = clusters.length === 1 && all.length > 1 ? `&cluster=${encodeURIComponent(clusters[0])}` : '';
  const answer = useDocument(`api/clients?match=${encodeURIComponent(match)}${one}`, 3000);
  const rows = answer.data?.clients || [];
  const kill = (chosen) => ask(chosen.length === 1 ? 'Kill a client' : 'Kill clients', [killAction(chosen)]);
  return html`<section class="card" aria-labelledby="clients">
    <div class="head"><h2 id="clients">Connected clients</h2><span class="gap"></span>
      ${match && rows.length > 0 && html`<button type="button" class="danger" onClick=${() => kill(rows)}>Kill these ${count(rows.length)}…</button>`}
    </div>
    <div class="filters">
      <label>Find <input type="search" placeholder="address, name, user, command, library or id" value=${text} onInput=${(e) => setText(e.target.value)} /></label>
      <span role="status">${answer.data ? `${count(answer.data.total)} ${match ? 'like that' : 'connected'}${answer.data.total > rows.length ? `, ${count(rows.length)} shown` : ''}` : ''}</span>
    </div>
    ${answer.data
      ? html`<${Table} caption="Clients" rows=${rows} rowKey=${(row) => row.id} empty=${match ? 'No client is like that.' : 'Nobody is connected.'} columns=${[
          {key: 'address', label: 'Client', head: true, by: (row) => row.address, render: (row) => html`<code>${row.address}</code>${row.name ? html` <span class="quiet">${row.name}</span>` : ''}`},
          {key: 'cluster', label: 'Cluster', by: (row) => row.cluster || '', render: (row) => row.cluster},
          {key: 'user', label: 'User', by: (row) => row.user || '', render: (row) => row.user || 'default'},
          {key: 'command', label: 'Last command', by: (row) => row.command || '', render: (row) => html`${row.command || '–'} ${FLAGS.filter(([key]) => row[key]).map(([, word]) => html`<span class="badge plain">${word}</span>`)}`},
          {key: 'age', label: 'Age', num: true, by: (row) => row.age, render: (row) => duration(row.age)},
          {key: 'idle', label: 'Idle', num: true, by: (row) => row.idle, render: (row) => duration(row.idle)},
          {key: 'memory', label: 'Memory', num: true, by: (row) => row.memory, render: (row) => bytes(row.memory)},
          {key: 'library', label: 'Library', by: (row) => row.lib_name || '', render: (row) => [row.lib_name, row.lib_version].filter(Boolean).join(' ')},
          {key: 'id', label: 'Id', num: true, by: (row) => row.id, render: (row) => row.id},
          {key: 'kill', name: 'Actions', render: (row) => html`<button type="button" class="small" aria-label="Kill client ${row.address}" onClick=${() => kill([row])}>Kill…</button>`},
        ]} />`
      : html`<${Missing} error=${answer.error} what="clients" />`}
    ${answer.data && answer.error && html`<p class="bad">${answer.error.message}</p>`}
  </section>`;
}
