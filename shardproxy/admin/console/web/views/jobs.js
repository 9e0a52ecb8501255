// Long work: under way with its progress, and over.
import {clusterActions, jobActions} from '../actions.js';
import {duration, moment, percent} from '../format.js';
import {html} from '../lib.js';
import {Empty, State, Table} from '../parts.js';

const KINDS = {asked: 'idle', running: 'going', finishing: 'going', paused: 'warn', aborting: 'warn', done: 'good', failed: 'bad', aborted: 'idle'};

export function Jobs({live, clusters, ask}) {
  const {jobs, status, process} = live.known;
  const shown = (jobs?.jobs || []).filter((job) => clusters.includes(job.cluster)).reverse();
  const going = shown.filter((job) => !job.is_over);
  const over = shown.filter((job) => job.is_over);
  const kinds = process?.kinds_of_jobs || [];
  const able = clusters.filter((name) => status.clusters[name]?.engine === 'redis');
  return html`
    <section class="card" aria-labelledby="going">
      <div class="head"><h2 id="going">Under way</h2><span class="gap"></span>
        ${able.map((name) => html`<button key=${name} type="button" onClick=${() => ask(`Work on ${name}`, clusterActions(name, status.clusters[name], kinds).filter((one) => one.kind))} disabled=${!kinds.length}>New work on ${name}…</button>`)}
      </div>
      ${going.length ? going.map((job) => html`<${Job} key=${`${job.cluster} ${job.id}`} job=${job} ask=${ask} />`) : html`<${Empty}>Nothing is under way: no resharding, backup, restore or import.<//>`}
    </section>
    <section class="card" aria-labelledby="over">
      <h2 id="over">Over</h2>
      <${Table} caption="Work that is over, the newest first" rows=${over} rowKey=${(job) => `${job.cluster} ${job.id}`} empty="No work is remembered." columns=${[
        {key: 'job', label: 'Job', head: true, render: (job) => `${job.kind} ${job.id}`},
        {key: 'cluster', label: 'Cluster', render: (job) => job.cluster},
        {key: 'state', label: 'State', render: (job) => html`<${State} kind=${KINDS[job.state]}>${job.state}<//>`},
        {key: 'asked', label: 'Asked', render: (job) => moment(job.asked_at)},
        {key: 'took', label: 'Took', num: true, render: (job) => (job.ended_at && job.began_at ? duration(job.ended_at - job.began_at) : '–')},
        {key: 'why', label: 'What became of it', wide: true, render: (job) => job.why || job.result.text || ''},
      ]} />
    </section>`;
}

function Job({job, ask}) {
  const {stage, what, done, total, text} = job.progress;
  const name = `${job.kind} ${job.id} of ${job.cluster}`;
  const counted = total ? `${percent(done / total)} (${done} of ${total}${what ? ` ${what}` : ''})` : done ? `${done} ${what}` : '';
  const said = [stage, counted, text].filter(Boolean).join(', ') || (job.state === 'asked' ? 'nobody has begun yet' : 'it has begun');
  return html`<article class="job" aria-label=${name}>
    <div class="head"><h3>${name}</h3><${State} kind=${KINDS[job.state]}>${job.state}<//><span class="gap"></span>
      ${jobActions(job).map((action) => html`<button key=${action.key} type="button" class="small" onClick=${() => ask(`${action.label}: ${name}`, [action])}>${action.label}…</button>`)}
    </div>
    <progress max=${total || undefined} value=${total ? done : undefined} aria-label="Progress of ${name}">${said}</progress>
    <p>${said}</p>
    <p class="quiet">Asked for at ${moment(job.asked_at)}${job.began_at ? `, begun ${duration(Date.now() / 1000 - job.began_at)} ago` : ''}${job.by ? `, done by ${job.by}` : ''}. Wanted: <code class="long">${JSON.stringify(job.wants)}</code></p>
  </article>`;
}
