// Keys that are asked for most, slots and families likewise; the largest requests and replies.
import {bytes, count, moment, percent, rate} from '../format.js';
import {html, useState} from '../lib.js';
import {Missing, Segments, Table, useDocument} from '../parts.js';

const BY = [['requests', 'By requests'], ['bytes', 'By bytes']];
const of = (document, clusters) => clusters.filter((name) => document.clusters[name]).map((name) => [name, document.clusters[name]]);
const shardText = (row) => (row.shard == null ? '–' : String(row.shard));

export function Keys({clusters}) {
  const [by, setBy] = useState('requests');
  const hot = useDocument(`api/hotkeys?by=${by}&limit=100`);
  const big = useDocument('api/bigkeys?limit=100', 10000);
  return html`
    <section class="card" aria-labelledby="hot">
      <div class="head"><h2 id="hot">Hot keys</h2><span class="gap"></span><${Segments} label="Order of hot keys" value=${by} options=${BY} onChange=${setBy} /></div>
      ${hot.data ? of(hot.data, clusters).map(([name, one]) => html`<${Hot} key=${name} name=${name} hot=${one} by=${by} />`) : html`<${Missing} error=${hot.error} what="hot keys" />`}
    </section>
    <section class="card" aria-labelledby="big">
      <h2 id="big">Big keys</h2>
      ${big.data
        ? of(big.data, clusters).map(([name, one]) => html`<div key=${name}><h3>${name}</h3><${Table} caption="The largest requests and replies of ${name}" rows=${one.keys} rowKey=${(row) => `${row.key} ${row.command}`} empty="Nothing large was seen."
            sorted=${{key: 'reply', down: true}} columns=${[
            {key: 'key', label: 'Key', head: true, by: (row) => row.key, render: (row) => html`<code class="long">${row.key}</code>`},
            {key: 'command', label: 'Command', by: (row) => row.command, render: (row) => row.command},
            {key: 'request', label: 'Request', num: true, by: (row) => row.request_bytes, render: (row) => bytes(row.request_bytes)},
            {key: 'reply', label: 'Reply', num: true, by: (row) => row.reply_bytes, render: (row) => bytes(row.reply_bytes)},
            {key: 'slot', label: 'Slot', num: true, render: (row) => row.slot},
            {key: 'shard', label: 'Shard', render: shardText},
            {key: 'at', label: 'Seen', render: (row) => moment(row.at)},
          ]} /></div>`)
        : html`<${Missing} error=${big.error} what="big keys" />`}
    </section>`;
}

function Hot({name, hot, by}) {
  const share = (row) => html`<span class="meter" aria-hidden="true"><span style=${{width: `${Math.min(100, (row.share || 0) * 100)}%`}}></span></span>${percent(row.share)}`;
  return html`<div>
    <h3>${name}</h3>
    <p class="quiet">Of one request in ${count(hot.sample)}, over ${Math.round(hot.seconds)} s: ${count(hot.sampled)} were looked at.</p>
    <${Table} key=${by} caption="Hot keys of ${name}" rows=${hot.keys} rowKey=${(row) => row.key} empty="No key stands out." columns=${[
      {key: 'key', label: 'Key', head: true, by: (row) => row.key, render: (row) => html`<code class="long">${row.key}</code>`},
      {key: 'requests', label: 'Requests', num: true, by: (row) => row.requests_per_second, render: (row) => rate(row.requests_per_second)},
      {key: 'bytes', label: 'Bytes', num: true, by: (row) => row.bytes_per_second, render: (row) => `${bytes(row.bytes_per_second)}/s`},
      {key: 'share', label: 'Of its shard', num: true, by: (row) => row.share, render: share},
      {key: 'reads', label: 'Reads', num: true, by: (row) => row.reads, render: (row) => percent(row.reads)},
      {key: 'slot', label: 'Slot', num: true, render: (row) => row.slot ?? '–'},
      {key: 'shard', label: 'Shard', render: shardText},
    ]} />
    <div class="pair">
      <div><h4>Slots</h4><${Table} caption="Hot slots of ${name}" rows=${hot.slots || []} rowKey=${(row) => row.slot} empty="No slot stands out." columns=${[
        {key: 'slot', label: 'Slot', head: true, by: (row) => row.slot, render: (row) => row.slot},
        {key: 'shard', label: 'Shard', render: shardText},
        {key: 'requests', label: 'Requests', num: true, by: (row) => row.requests_per_second, render: (row) => rate(row.requests_per_second)},
        {key: 'share', label: 'Of its shard', num: true, render: share},
      ]} /></div>
      <div><h4>Families</h4><${Table} caption="Key families of ${name}" rows=${hot.families || []} rowKey=${(row) => row.family} empty="No family is known." columns=${[
        {key: 'family', label: 'Family', head: true, by: (row) => row.family, render: (row) => html`<code class="long">${row.family}</code>`},
        {key: 'requests', label: 'Requests', num: true, by: (row) => row.requests_per_second, render: (row) => rate(row.requests_per_second)},
        {key: 'bytes', label: 'Bytes', num: true, by: (row) => row.bytes_per_second, render: (row) => `${bytes(row.bytes_per_second)}/s`},
        {key: 'share', label: 'Of the cluster', num: true, render: share},
      ]} /></div>
    </div>
  </div>`;
}
