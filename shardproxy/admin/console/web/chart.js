// Lines of the last minutes: drawn as SVG, told in words to who cannot see them.
import {html, useState} from './lib.js';

const SECONDS = 300;

/** series: [{name, kind, values: [{at, value}]}]; `format` writes a value; `log`: each step up is as many times more. */
export function Chart({title, series, format, log = false}) {
  const [at, setAt] = useState(null); // ms, where the pointer is
  const end = Math.max(Date.now() - 1500, ...series.map((one) => one.values.at(-1)?.at || 0));
  const begin = end - SECONDS * 1000;
  const values = series.flatMap((one) => one.values.map((v) => v.value || 0)).filter((value) => value > 0);
  const [bottom, top] = log ? decades(values) : [0, niceAbove(Math.max(0, ...values))];
  const x = (time) => ((time - begin) / 1000).toFixed(1);
  const part = (value) => (log ? Math.log(Math.max(value, bottom) / bottom) / Math.log(top / bottom) : value / top);
  const y = (value) => (100 - part(value) * 100).toFixed(2);
  const move = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    setAt(begin + ((event.clientX - box.left) / box.width) * SECONDS * 1000);
  };
  const shown = series.map((one) => ({...one, value: at == null ? one.values.at(-1)?.value : nearest(one.values, at)}));
  const said = shown.map((one) => `${one.name} ${format(one.values.at(-1)?.value)}`).join(', ');
  const age = at == null ? 'now' : `${Math.max(0, Math.round((end - at) / 1000))} s ago`;
  return html`<figure class="chart">
    <figcaption><strong>${title}</strong><span class="when">${age}</span></figcaption>
    <ul class="legend">
      ${shown.map(
        (one) => html`<li key=${one.name}><span class="key ${one.kind}" aria-hidden="true"></span>${one.name} <b>${format(one.value)}</b></li>`,
      )}
    </ul>
    <div class="plot" onPointerMove=${move} onPointerLeave=${() => setAt(null)}>
      <span class="top" aria-hidden="true">${format(top)}</span>
      ${log && html`<span class="bottom" aria-hidden="true">${format(bottom)}</span>`}
      <svg viewBox="0 0 ${SECONDS} 100" preserveAspectRatio="none" role="img" aria-label="${title}, last five minutes; now ${said || 'nothing'}">
        ${(log ? between(bottom, top) : [top / 2]).map((value) => html`<line key=${value} class="grid" x1="0" x2=${SECONDS} y1=${y(value)} y2=${y(value)} />`)}
        <line class="grid" x1="0" x2=${SECONDS} y1="0.5" y2="0.5" />
        ${series.map((one) => html`<path key=${one.name} class="line ${one.kind}" d=${path(one.values, x, y, begin)} />`)}
        ${at != null && html`<line class="cross" x1=${x(at)} x2=${x(at)} y1="0" y2="100" />`}
        <line class="axis" x1="0" x2=${SECONDS} y1="99.5" y2="99.5" />
      </svg>
      <div class="times" aria-hidden="true"><span>5 min ago</span><span>now</span></div>
    </div>
  </figure>`;
}

/** A line broken where nothing is known, or where nobody looked. */
function path(values, x, y, begin) {
  let drawn = '';
  let before = null;
  for (const {at, value} of values) {
    if (at < begin) continue;
    if (value == null) {
      before = null;
      continue;
    }
    drawn += `${before == null || at - before > 5000 ? 'M' : 'L'}${x(at)} ${y(value)}`;
    before = at;
  }
  return drawn;
}

function nearest(values, at) {
  let found;
  for (const one of values) if (!found || Math.abs(one.at - at) < Math.abs(found.at - at)) found = one;
  return found && Math.abs(found.at - at) < 5000 ? found.value : null;
}

/** 1, 2 or 5 times a power of ten. */
function niceAbove(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= value) || value;
}

/** Powers of ten around all values. */
function decades(values) {
  if (!values.length) return [1e-4, 1e-2];
  const low = Math.floor(Math.log10(Math.min(...values)));
  return [10 ** low, 10 ** Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values))))];
}

function between(bottom, top) {
  const found = [];
  for (let value = bottom * 10; value < top * 0.99; value *= 10) found.push(value);
  return found;
}

export function historyOf(live, cluster, value) {
  return (live.history[cluster] || []).map(({at, of}) => ({at, value: value(of)}));
}

export const CLASSES = ['read', 'write', 'split', 'offload', 'block', 'publish', 'wait'];
