// What could be better, with the figures and what to do.
import {html} from '../lib.js';
import {Empty, Missing, State, useDocument} from '../parts.js';

const KINDS = {critical: 'bad', warning: 'warn', info: 'idle'};
const ORDER = ['critical', 'warning', 'info'];

export function Advice({clusters}) {
  const answer = useDocument('api/advice', 15000);
  if (!answer.data) return html`<section class="card"><${Missing} error=${answer.error} what="advice" /></section>`;
  const shown = clusters.filter((name) => answer.data.clusters[name]);
  if (!shown.length) return html`<${Empty}>There is no advice about these clusters.<//>`;
  return shown.map((name) => {
    const found = [...answer.data.clusters[name]].sort((a, b) => ORDER.indexOf(a.severity) - ORDER.indexOf(b.severity));
    return html`<section key=${name} class="card" aria-labelledby="a-${name}">
      <h2 id="a-${name}">${name}</h2>
      ${found.length ? found.map((one) => html`<${One} key=${one.name + one.title} advice=${one} />`) : html`<${Empty}>Nothing that could be better was found.<//>`}
    </section>`;
  });
}

function One({advice}) {
  const figures = Object.entries(advice.figures || {});
  return html`<article class="advice">
    <h3><${State} kind=${KINDS[advice.severity] || 'idle'}>${advice.severity}<//> ${advice.title}</h3>
    <p>${advice.advice}</p>
    ${figures.length > 0 && html`<dl class="small-figures">${figures.map(([key, value]) => html`<div key=${key}><dt>${key.replaceAll('_', ' ')}</dt><dd>${typeof value === 'object' ? JSON.stringify(value) : String(value)}</dd></div>`)}</dl>`}
  </article>`;
}
