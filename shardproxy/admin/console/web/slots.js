// Whose the 16384 slots are, as a bar.
import {count, plural} from './format.js';
import {html} from './lib.js';
import {isServed, shardHealth, shardName, slotCount, slotRanges} from './words.js';

const SLOTS = 16384;

export function SlotBar({shards}) {
  const owned = shards.filter((shard) => shard.slots.length);
  if (!owned.length) return null;
  const parts = owned
    .flatMap((shard) => slotRanges(shard.slots).map(([first, last]) => ({shard, first, last})))
    .sort((one, other) => one.first - other.first);
  const without = SLOTS - parts.reduce((sum, {first, last}) => sum + last - first + 1, 0);
  const ill = owned.filter((shard) => !isServed(shard));
  const held = owned.flatMap((shard) => slotRanges(shard.held));
  const counts = owned.map(slotCount);
  const [least, most] = [Math.min(...counts), Math.max(...counts)];
  const each = least === most ? count(least) : `${count(least)} to ${count(most)}`;
  const served = without ? `${count(without)} slots have no shard` : 'all 16,384 slots have a shard';
  const said = `${plural(owned.length, 'shard')} with ${each} slots each; ${served}${ill.length ? `; not served: shard ${ill.map(shardName).join(', ')}` : ''}`;
  return html`<div class="slots">
    <svg viewBox="0 0 ${SLOTS} 100" preserveAspectRatio="none" role="img" aria-label="Slots: ${said}">
      <rect class="nobody" y="15" width=${SLOTS} height="85" />
      ${parts.map(({shard, first, last}, number) => {
        const served = isServed(shard);
        return html`<rect key=${first} class="part ${served ? '' : 'bad'} n${number % 2}" x=${first} width=${last - first + 1} y=${served ? 15 : 0} height=${served ? 85 : 100}>
          <title>Shard ${shardName(shard)}: slots ${first}-${last}, ${shardHealth(shard).text}</title>
        </rect>`;
      })}
      ${held.map(([first, last]) => html`<rect key=${`h${first}`} class="held" x=${first} width=${last - first + 1} y="0" height="100"><title>Slots ${first}-${last} wait</title></rect>`)}
    </svg>
    ${owned.length <= 16 &&
    html`<div class="names" aria-hidden="true">
      ${parts.filter(({first, last}) => (last - first) / SLOTS > 0.045).map(({shard, first, last}) => html`<${Name} key=${first} at=${(first + last + 1) / 2 / SLOTS} text=${shardName(shard)} />`)}
    </div>`}
    <p class="said">${said}.</p>
  </div>`;
}

const Name = ({at, text}) => html`<span style=${{left: `${at * 100}%`}}>${text}</span>`;
