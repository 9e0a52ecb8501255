// The config as it is loaded, secrets masked.
import {html, useState} from '../lib.js';
import {Missing, useDocument} from '../parts.js';

export function Config() {
  const [text, setText] = useState('');
  const answer = useDocument('api/config', 15000);
  if (!answer.data) return html`<section class="card"><${Missing} error=${answer.error} what="config" /></section>`;
  const wanted = text.trim().toLowerCase();
  const lines = answer.data.text.split('\n');
  const hits = wanted ? lines.filter((line) => line.toLowerCase().includes(wanted)).length : 0;
  return html`<section class="card" aria-labelledby="config">
    <h2 id="config">As loaded</h2>
    <p class="quiet">What the file says, as it is understood. Hashes of passwords are masked; other secrets are named by where they are kept.</p>
    <div class="filters"><label>Find <input type="search" value=${text} onInput=${(e) => setText(e.target.value)} /></label><span role="status">${wanted ? `in ${hits} lines` : `${lines.length} lines`}</span></div>
    <pre class="config" tabindex="0" role="region" aria-label="Config as YAML"><code>${lines.map((line, n) => html`<span key=${n} class=${wanted && line.toLowerCase().includes(wanted) ? 'hit' : ''}>${`${line}\n`}</span>`)}</code></pre>
  </section>`;
}
