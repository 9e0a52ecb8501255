// What an operator may have done, each in words before it is. `type`: what has to be typed first; null: nothing.
import {post} from './api.js';
import {count, plural} from './format.js';
import {shardName} from './words.js';

const MOST_KILLED = 100; // by one request

const primaryOf = (shard) => shard.nodes.find((node) => node.role === 'primary');
const replicasOf = (shard) => shard.nodes.filter((node) => node.role === 'replica');

/** Actions on one shard. */
export function shardActions(cluster, shard) {
  const name = shardName(shard);
  const body = {cluster, shard: String(shard.shard)};
  const primary = primaryOf(shard)?.address || 'its primary';
  const best = [['', 'the replica with most of the data']];
  const replicas = replicasOf(shard).map((node) => [node.address, `${node.address} (${node.state}${node.sync ? `, ${node.sync}` : ''})`]);
  return [
    {
      key: 'switchover', label: 'Switch over', type: null, button: 'Switch over',
      fields: [{name: 'to', label: 'New primary', options: [...best, ...replicas]}],
      words: ({to}) =>
        `Shard ${name} of ${cluster} is handed over from ${primary} to ${to || 'the replica with most of the data'}. Writes wait for a moment; no client sees an error, and no write is lost. The old primary becomes a replica.`,
      run: ({to}) => post('api/switchover', {...body, to: to || null}),
      done: `Shard ${name} of ${cluster} has another primary.`,
    },
    {
      key: 'failover-test', label: 'Test the failover', type: null, button: 'Test the failover',
      words: () =>
        `The primary of shard ${name} of ${cluster}, ${primary}, is replaced by its best replica, as ElastiCache's TestFailover does. Nothing is lost. Events show how long it took.`,
      run: () => post('api/failover-test', body),
      done: `Shard ${name} of ${cluster} has another primary.`,
    },
    {
      key: 'promote', label: 'Promote a node by force', type: `${cluster}/${name}`, button: 'Promote by force', isDangerous: true,
      fields: [{name: 'to', label: 'New primary', options: shard.nodes.filter((n) => n.role !== 'primary').map((n) => [n.address, `${n.address} (${n.state})`])}],
      words: ({to}) =>
        `${to || 'The node'} becomes the primary of shard ${name} of ${cluster} whatever its data. Writes that it does not have are LOST, and nothing brings them back. This is for a shard whose other nodes are gone for good.`,
      run: ({to}) => post('api/promote', {...body, to}),
      done: `Shard ${name} of ${cluster} has another primary.`,
    },
    {
      key: 'acknowledge', label: 'Acknowledge the last failover', type: null, button: 'Acknowledge',
      words: () => `The cause of the last failover of shard ${name} of ${cluster} is known: the next one need not wait. Nothing is done to a node now.`,
      run: () => post('api/acknowledge', body),
      done: 'The next failover need not wait.',
    },
    ...(shard.slots.length ? [drainAction(cluster, name)] : []),
  ];
}

const PACE = [
  {name: 'rate', label: 'Copy at most so many MiB a second (0: as fast as it goes)', type: 'number', value: '0', min: 0},
];
const pace = ({rate}) => ({rate: Math.round(Number(rate || 0) * 1048576), slots_per_step: 0});

function drainAction(cluster, name) {
  return {
    key: 'drain', label: 'Drain the shard', kind: 'reshard', cluster, button: 'Drain', type: `${cluster}/${name}`, fields: PACE,
    words: () => `All slots of shard ${name} of ${cluster} move to the other shards, while they are served. The shard may leave the config then.`,
    wants: (of) => ({do: 'drain', shard: name, ...pace(of)}),
  };
}

/** Actions on a whole cluster. `kinds`: of jobs that there are. */
export function clusterActions(name, cluster, kinds) {
  const shards = cluster.shards.length;
  const pause = {
    key: 'pause', label: 'Pause automatic failover', type: name, button: 'Pause', isDangerous: true,
    words: () => `Nothing is done to the nodes of ${name} by itself, whatever is wrong with them: a primary that dies is NOT replaced until you resume. A failover under way is finished. A restart does not end the pause.`,
    run: () => post('api/pause', {cluster: name}),
    done: `${name} is paused: nothing is done to its nodes unless asked for.`,
  };
  const resume = {
    key: 'resume', label: 'Resume automatic failover', type: null, button: 'Resume',
    words: () => `What the nodes of ${name} need is done by itself again: a primary that is down now is replaced at once.`,
    run: () => post('api/resume', {cluster: name}),
    done: `${name} is not paused any more.`,
  };
  const jobs = [
    {
      key: 'rebalance', label: 'Rebalance shards', kind: 'reshard', cluster: name, type: null, button: 'Rebalance',
      fields: [{name: 'by', label: 'Alike by', options: [['keys', 'keys'], ['memory', 'memory'], ['load', 'load']]}, ...PACE],
      words: ({by}) => `Slots of ${name} move so that its shards weigh alike by ${by}, while they are served.`,
      wants: (of) => ({do: 'rebalance', by: of.by, ...pace(of)}),
    },
    {
      key: 'scale', label: 'Scale: another number of shards', kind: 'reshard', cluster: name, type: name, button: 'Scale',
      fields: [{name: 'shards', label: `Shards with slots (there are ${plural(shards, 'shard')})`, type: 'number', value: String(shards), min: 1, max: 250}, ...PACE],
      words: (of) => `The slots of ${name} are spread over ${plural(Number(of.shards) || 0, 'shard')}, while they are served. Of too many the last ones lose theirs.`,
      wants: (of) => ({do: 'scale', shards: Number(of.shards), ...pace(of)}),
    },
    {
      key: 'move', label: 'Move slots', kind: 'reshard', cluster: name, type: null, button: 'Move',
      fields: [{name: 'moves', label: 'Slots and their new shard, as in 0-1000:b', value: '', required: true}, ...PACE],
      words: ({moves}) => `The slots ${moves || '…'} of ${name} move to the shard that is named behind them, while they are served.`,
      wants: (of) => ({do: 'move', moves: of.moves.split(/\s+/).filter(Boolean), ...pace(of)}),
    },
    {
      key: 'backup', label: 'Back up', kind: 'backup', cluster: name, type: null, button: 'Back up',
      fields: [{name: 'name', label: 'Name of the backup', value: '', required: true}, {name: 'to', label: 'Place, if not as configured', value: ''}],
      words: (of) => `One RDB for each of ${plural(shards, 'shard')} of ${name}, all of one moment, as backup “${of.name || '…'}”. Writes wait for some ten milliseconds.`,
      wants: (of) => ({name: of.name, to: of.to || null, origin: 'manual'}),
    },
  ];
  return [cluster.is_paused ? resume : pause, ...jobs.filter((job) => kinds.includes(job.kind))];
}

/** What may be asked of a job that is not over. */
export function jobActions(job) {
  const what = `${job.kind} ${job.id} of ${job.cluster}`;
  const wish = (name) => () => post(`api/jobs/${name}`, {cluster: job.cluster, id: job.id});
  const pause = {key: 'pause', label: 'Pause', button: 'Pause the job', type: null, run: wish('pause'), done: `${what} is paused.`,
    words: () => `The ${what} stops where it is, until it is resumed. What it has copied stays, and is not kept fresh longer than the nodes allow.`};
  const resume = {key: 'resume', label: 'Resume', button: 'Resume the job', type: null, run: wish('resume'), done: `${what} goes on.`, words: () => `The ${what} goes on.`};
  const finish = {key: 'finish', label: 'Finish', button: 'Finish the job', type: job.cluster, isDangerous: true, run: wish('finish'), done: `${what} is brought to its end.`,
    words: () => `The ${what}, which would go on for ever, is brought to its end: what it copies from is left.`};
  const abort = {key: 'abort', label: 'Cancel', button: 'Cancel the job', type: job.cluster, isDangerous: true, run: wish('abort'), done: `${what} is given up.`,
    words: () => `The ${what} is given up: what can be undone is, what is done already is finished.`};
  const paused = job.state === 'paused';
  const canFinish = job.kind === 'import' && job.state === 'running';
  return [paused || job.state === 'finishing' ? resume : pause, ...(canFinish ? [finish] : []), abort].filter(() => job.state !== 'aborting');
}

/** Closes clients, as many at once as may be. */
async function killAll(ids) {
  let killed = 0;
  for (let at = 0; at < ids.length; at += MOST_KILLED) killed += (await post('api/clients/kill', {ids: ids.slice(at, at + MOST_KILLED)})).killed;
  return {killed};
}

export function killAction(clients) {
  const one = clients.length === 1 ? clients[0] : null;
  const who = one ? `${one.address}${one.name ? ` (${one.name})` : ''}` : plural(clients.length, 'client');
  return {
    key: 'kill', label: 'Kill', button: one ? 'Kill the client' : `Kill ${count(clients.length)}`, type: one ? null : String(clients.length), isDangerous: true,
    words: () => `The connection of ${who} is closed at once, as by CLIENT KILL. Whatever it waits for is not answered; most clients connect again.`,
    run: () => killAll(clients.map((client) => client.id)),
    done: ({killed}) => `${plural(killed, 'client was', 'clients were')} closed.`,
  };
}
