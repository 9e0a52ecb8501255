// What the documents say, in the words of people. Pure.
import {duration, plural} from './format.js';

export const shardName = (shard) => shard.name || String(shard.shard ?? shard.index);

const SHARDS = {
  ok: ['good', 'ok'],
  new: ['warn', 'new: its primary is not known yet'],
  fencing: ['bad', 'failing over: nobody may acknowledge writes'],
  held: ['bad', 'held: no node may be promoted until something outside changes'],
  promoting: ['bad', 'failing over: a replica becomes its primary'],
  switching: ['warn', 'switching over to another primary'],
  conflict: ['bad', 'conflict: two nodes claim to be its primary; read-only until you decide'],
};

const NODES = {
  up: 'good',
  unknown: 'idle',
  suspect: 'warn',
  loading: 'warn',
  busy: 'warn',
  unwritable: 'bad',
  denied: 'bad',
  'cut off': 'bad',
  down: 'bad',
};

/** For how long a node is as it is, in seconds. */
export const lasting = (node) => (node.began == null ? null : (Date.now() - node.began) / 1000);

export const nodeKind = (node) => NODES[node.state] || 'warn';
export const shardState = (shard) => SHARDS[shard.state] || ['warn', shard.state];

export function syncKind(node) {
  if (node.role !== 'replica' || node.sync == null) return 'idle';
  return {streaming: 'good', syncing: 'warn'}[node.sync] || 'bad';
}

/** The worse of all its nodes and its own state, and what to call it in a word or two. */
export function shardHealth(shard) {
  const [kind] = shardState(shard);
  const primary = shard.nodes.find((node) => node.role === 'primary');
  const ill = shard.nodes.filter((node) => ['bad', 'warn'].includes(nodeKind(node)));
  if (kind !== 'good') return {kind, text: shard.state};
  if (primary && nodeKind(primary) === 'bad') return {kind: 'bad', text: `primary ${primary.state}`};
  if (ill.length === 1) return {kind: nodeKind(ill[0]), text: `${ill[0].role} ${ill[0].state}`};
  if (ill.length) return {kind: ill.some((n) => nodeKind(n) === 'bad') ? 'bad' : 'warn', text: `${ill.length} of ${shard.nodes.length} nodes not up`};
  const astray = shard.nodes.filter((node) => ['warn', 'bad'].includes(syncKind(node)));
  if (astray.length) return {kind: 'warn', text: `replica ${astray[0].sync}`};
  return {kind: 'good', text: 'ok'};
}

/** Whether its slots are served: what ails a replica alone does not matter for that. */
export function isServed(shard) {
  const primary = shard.nodes.find((node) => node.role === 'primary');
  return shardState(shard)[0] !== 'bad' && !shard.why_not && !(primary && nodeKind(primary) === 'bad');
}

export function slotRanges(texts) {
  return texts.map((text) => {
    const [first, last] = text.split('-').map(Number);
    return [first, last ?? first];
  });
}

export const slotCount = (shard) => slotRanges(shard.slots).reduce((sum, [first, last]) => sum + last - first + 1, 0);

/** All that somebody should look at, the worst first: [{kind, text}]. */
export function troubles(status, process, names) {
  const found = [];
  const say = (kind, text) => found.push({kind, text});
  for (const why of process?.why_not_ready || []) say('bad', `This proxy is not ready: ${why}`);
  if (status.store && status.store.kind !== 'local' && !status.store.is_synced) {
    say('bad', 'The store cannot be reached: others may know of changes that this proxy does not.');
  }
  for (const name of names) {
    const cluster = status.clusters[name];
    if (!cluster) continue;
    for (const shard of cluster.shards) for (const one of shardTroubles(name, shard, cluster)) found.push(one);
    if (cluster.is_paused) say('warn', `${name} is paused: nothing is done to its nodes by itself, whatever is wrong.`);
    if (cluster.decider?.trouble) say('bad', `${name}: ${cluster.decider.trouble}`);
    for (const one of cluster.certificates || []) {
      const days = (one.not_after - Date.now() / 1000) / 86400;
      if (days < 14) say(days < 2 ? 'bad' : 'warn', `${name}: the certificate ${one.name} ${days < 0 ? 'has ended' : `ends in ${Math.floor(days)} days`} (${one.file})`);
    }
  }
  const order = {bad: 0, warn: 1};
  return found.sort((one, other) => order[one.kind] - order[other.kind]);
}

function shardTroubles(name, shard, cluster) {
  const found = [];
  const of = `${name}, shard ${shardName(shard)}`;
  const [kind, words] = shardState(shard);
  if (kind !== 'good') found.push({kind, text: `${of} is ${words}.`});
  if (shard.why_not) found.push({kind: 'bad', text: `${of}: ${shard.why_not}`});
  for (const node of shard.nodes) {
    const since = node.began != null ? `, for ${duration(lasting(node))}` : '';
    const why = node.reason ? `: ${node.reason}` : '';
    const how = nodeKind(node);
    if (how === 'bad' || how === 'warn') found.push({kind: how, text: `${of}: ${node.role} ${node.address} is ${node.state}${since}${why}`});
    else if (['warn', 'bad'].includes(syncKind(node))) {
      found.push({kind: 'warn', text: `${of}: replica ${node.address}: ${node.sync}${node.sync_reason ? `, ${node.sync_reason}` : ''}`});
    }
  }
  if (shard.held.length) {
    const what = shard.is_only_writes_held ? 'Writes to' : 'Requests for';
    found.push({kind: 'warn', text: `${of}: ${what} slots ${shard.held.join(', ')} wait.`});
  }
  const replicas = shard.nodes.filter((node) => node.role === 'replica').length;
  if (replicas && shard.is_automatic && !shard.is_covered && shard.state === 'ok' && cluster.engine === 'redis') {
    found.push({kind: 'warn', text: `${of}: no replica could take over now.`});
  }
  return found;
}

export function clusterSummary(cluster) {
  const nodes = cluster.shards.flatMap((shard) => shard.nodes);
  const ill = cluster.shards.filter((shard) => shardHealth(shard).kind !== 'good').length;
  const size = `${plural(cluster.shards.length, 'shard')}, ${plural(nodes.length, 'node')}`;
  return ill ? {kind: cluster.shards.some((s) => shardHealth(s).kind === 'bad') ? 'bad' : 'warn', text: `${size}; ${ill} not ok`} : {kind: 'good', text: `${size}, all ok`};
}

export const EVENT_KINDS = {
  FailoverStarted: 'bad', FailoverDelayed: 'warn', SwitchoverFailed: 'warn', Alarm: 'bad', JobFailed: 'bad',
  SnapshotFailed: 'bad', CacheNodesRebooted: 'warn', AutomaticFailoverPaused: 'warn', ScalingAdvised: 'warn',
  FailoverComplete: 'good', SwitchoverComplete: 'good', CacheNodeRecovered: 'good', AlarmCleared: 'good',
  JobComplete: 'good', SnapshotComplete: 'good', AutomaticFailoverResumed: 'good',
};

const BEGINS = new Set(['FailoverStarted', 'TestFailoverAPICalled']);
const ENDS = {FailoverComplete: 'good', SwitchoverComplete: 'good', SwitchoverFailed: 'bad'};

/** Changes of primaries, the newest first: [{cluster, shard, began, ended, cause, outcome, kind, name}]. */
export function failovers(events) {
  const found = [];
  const open = new Map();
  for (const event of [...events].sort((a, b) => a.number - b.number)) {
    const key = `${event.cluster}/${event.shard}`;
    if (BEGINS.has(event.name)) {
      const one = {
        key: event.number, cluster: event.cluster, shard: event.shard_name || event.shard, began: event.time, ended: null,
        cause: event.message, outcome: '', kind: 'warn', name: event.name === 'FailoverStarted' ? 'failover' : 'test failover',
      };
      open.set(key, one);
      found.push(one);
    } else if (event.name in ENDS) {
      let one = open.get(key);
      if (!one) {
        one = {
          key: event.number, cluster: event.cluster, shard: event.shard_name || event.shard, began: event.time,
          cause: event.name === 'FailoverComplete' ? '' : 'asked for by an operator',
          name: event.name === 'FailoverComplete' ? 'failover' : 'switchover',
        };
        found.push(one);
      }
      Object.assign(one, {ended: event.time, outcome: event.message, kind: ENDS[event.name]});
      open.delete(key);
    } else if (event.name === 'FailoverDelayed' && open.has(key)) {
      open.get(key).outcome = event.message;
    }
  }
  return found.reverse();
}
