"""What is served, worked out from what is configured, on record, and known of the nodes. Pure.

    settings ─> setups ┐
              records ─┼─> topology, numbered by the records, and what goes with each shard
                  fit ─┘

Every process that sees the same records serves the same topology under the same number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from shardproxy.config import RedisCluster
from shardproxy.dataplane.spec import ClusterSettings, ShardSpec, ShardTerms, shard_spec
from shardproxy.failover.setup import ShardSetup
from shardproxy.failover.slotmap import slots_shared
from shardproxy.model import Address, Engine, Node, Shard, Topology
from shardproxy.model.replication import ShardKey
from shardproxy.store.record import ShardRecord, ShardState
from shardproxy.topology.assign import Records, Slots, is_misplaced
from shardproxy.topology.delegated import setups_of
from shardproxy.topology.fit import NOT_KNOWN, Fit

ELSEWHERE = "only other proxies have it in their config: give all of them the same one"
NEWS_TOLD = 5  # shards in one line of the log


@dataclass(frozen=True, slots=True)
class Configured:
    """A cluster as configured: its settings, and its shards as failover is told of them, by number."""

    settings: ClusterSettings
    setups: tuple[ShardSetup, ...] = ()  # none for an engine without replication

    @property
    def is_delegated(self) -> bool:
        """Whether something else decides who is there, and who is primary."""
        config = self.settings.config
        return isinstance(config, RedisCluster) and config.is_delegated

    @property
    def is_ours(self) -> bool:
        """Whether proxies decide who is primary there, and nothing else does."""
        return isinstance(self.settings.config, RedisCluster) and not self.is_delegated

    def found(self, cluster: str, records: Records) -> Configured:
        """The same, with the shards, and under the numbers, that turn out to be on record."""
        if not self.is_delegated and not is_misplaced(self.setups, records):
            return self
        setups = shard_setups(cluster, self.settings, records)
        return self if setups == self.setups else replace(self, setups=setups)


@dataclass(frozen=True, slots=True)
class Part:
    """A shard as it is served, and what that was made of."""

    setup: ShardSetup
    record: ShardRecord | None
    fit: Fit
    shard: Shard
    terms: ShardTerms
    spec: ShardSpec
    is_about: bool = False  # the record says something of the shard's nodes

    @property
    def key(self) -> ShardKey:
        return self.setup.key

    @property
    def changed(self) -> int | None:
        """What may be acknowledged once it is served."""
        return self.record.changed if self.record is not None else None


@dataclass(frozen=True, slots=True)
class Projection:
    """What the data plane is to serve of a cluster."""

    topology: Topology
    parts: tuple[Part, ...] = ()  # of each shard, in the topology's order; none without replication

    def is_told_by(self, other: Projection) -> bool:
        """Whether a data plane that serves the other one serves this one too."""
        return self.topology == other.topology and all(
            mine is theirs or (mine.spec, mine.changed) == (theirs.spec, theirs.changed)
            for mine, theirs in zip(self.parts, other.parts, strict=True)
        )


def shard_setups(cluster: str, settings: ClusterSettings, records: Records) -> tuple[ShardSetup, ...]:
    """The shards of a cluster, ordered by their numbers; none for an engine without replication."""
    config = settings.config
    return setups_of(cluster, config, records) if isinstance(config, RedisCluster) else ()


def epochs_of(records: Records) -> dict[str, int]:
    """Each cluster's epoch: when what proxies act on last changed, also in shards that are gone from it."""
    epochs: dict[str, int] = {}
    for key, record in records.items():
        epochs[key.cluster] = max(epochs.get(key.cluster, 0), record.changed)
    return epochs


def project(
    cluster: str,
    setups: tuple[ShardSetup, ...],
    records: Records,
    epoch: int,
    fits: Mapping[ShardKey, Fit],
    before: Projection | None = None,
) -> Projection:
    """Say what is served of a Redis cluster. What is as `before` is not made anew, be it a shard or all."""
    old = {part.key: part for part in before.parts} if before is not None else {}
    setups, slots = slots_served(setups, [one for key, one in records.items() if key.cluster == cluster])
    seen = [records.get(setup.key) for setup in setups]
    found = [
        record_about(setup, record, old.get(setup.key)) for setup, record in zip(setups, seen, strict=True)
    ]
    parts = tuple(
        part_reused(
            old.get(setup.key), setup, seen[place], fits.get(setup.key, NOT_KNOWN), place, slots[place]
        )
        or part_made(setup, seen[place], found[place], fits.get(setup.key, NOT_KNOWN), place, slots[place])
        for place, setup in enumerate(setups)
    )
    if before is not None and (epoch, parts) == (before.topology.epoch, before.parts):
        return before
    topology = Topology(cluster, Engine.REDIS, epoch, tuple(part.shard for part in parts))
    return Projection(topology, parts)


def slots_served(
    setups: Sequence[ShardSetup], records: Sequence[ShardRecord]
) -> tuple[tuple[ShardSetup, ...], list[Slots]]:
    """The shards to serve, with the slots of each: every slot is with one of them.

    Where proxies decide, who has slots on record has them, and so what only the config of other proxies has
    is there too while it has any: to serve its slots by our own config would hide its keys. Else the setups
    say it, which are as it was found.
    """
    if any(setup.decider is not None for setup in setups):
        return tuple(setups), [setup.slots for setup in setups]
    shared = slots_shared(setups, records)
    ours = {setup.key for setup in setups}
    more = [
        ShardSetup(record.key, (), name=record.name, slots=shared[record.key])
        for record in records
        if record.key not in ours and shared[record.key]
    ]
    served = tuple(sorted((*setups, *more), key=attrgetter("key"))) if more else tuple(setups)
    return served, [shared[setup.key] for setup in served]


def is_elsewhere(setup: ShardSetup) -> bool:
    """Whether only other proxies have the shard in their config."""
    return not setup.nodes and setup.decider is None


def record_about(
    setup: ShardSetup, record: ShardRecord | None, old: Part | None = None
) -> ShardRecord | None:
    """The record, unless it says nothing of these nodes: it is new, or the config has others here.

    One that said something of them still does when its nodes have other names since: another proxy has them
    in its config already.
    """
    if record is None or record.state is ShardState.NEW:
        return None
    if is_elsewhere(setup) or (old is not None and old.is_about and old.setup.nodes == setup.nodes):
        return record
    return record if any(node in record.nodes for node in setup.addresses) else None


def part_reused(
    old: Part | None, setup: ShardSetup, record: ShardRecord | None, fit: Fit, place: int, slots: Slots
) -> Part | None:
    """The part of before, if it would be made of the same."""
    if old is None or old.record is not record or old.shard.index != place:
        return None
    return old if (old.setup, old.fit, old.shard.slots) == (setup, fit, slots) else None


def part_made(
    setup: ShardSetup,
    record: ShardRecord | None,
    about: ShardRecord | None,
    fit: Fit,
    place: int,
    slots: Slots,
) -> Part:
    shard = shard_project(place, setup, slots, about)
    if is_elsewhere(setup):
        shard = shard_refused(shard, ELSEWHERE)
    if fit.foreign is not None:
        shard = shard_refused(shard, foreign_text(fit.foreign))
    terms = terms_of(shard, setup, about, fit)
    spec = shard_spec(shard, fit.readable, terms)
    return Part(setup, record, fit, shard, terms, spec, is_about=about is not None)


def shard_project(place: int, setup: ShardSetup, slots: Slots, record: ShardRecord | None) -> Shard:
    """The shard with its primary on record; without a record a node that is alone has to be the primary."""
    nodes = setup.nodes
    if record is None:
        primary = nodes[0] if len(nodes) == 1 else None
    else:
        configured = setup.addresses  # a node may be a member although the config does not name it any more
        nodes += tuple(Node(address) for address in record.nodes if address not in configured)
        served = primary_served(record)
        primary = next((node for node in nodes if node.address == served), None)
    replicas = tuple(node for node in nodes if node is not primary)
    why_not = None if primary is not None else why_no_primary(record)
    is_mixed = record is not None and record.is_mixed
    return Shard(
        place,
        slots,
        primary,
        replicas,
        setup.name,
        number=setup.key.index,
        why_not=why_not,
        is_mixed=is_mixed,
    )


def shard_refused(shard: Shard, why: str) -> Shard:
    """The same shard, served by nobody."""
    return replace(shard, primary=None, replicas=(), why_not=why, is_refused=True)


def foreign_text(*nodes: Address) -> str:
    """Say why nodes of a Redis Cluster are not served, and what to do."""
    whose, which = ("it", "node") if len(nodes) == 1 else ("them", "nodes")
    verb = "runs" if len(nodes) == 1 else "run"
    return (
        f"{which} {', '.join(map(str, nodes))} {verb} in cluster mode (cluster-enabled yes), and the config"
        " does not say so: to serve that Redis Cluster, write topology: {from: redis-cluster, seeds: [...]}"
        f" in place of shards; else start {whose} with cluster-enabled no"
    )


def why_no_primary(record: ShardRecord | None) -> str | None:
    """Why nobody serves the shard, in words for its clients; None while it fails over."""
    match record.state if record is not None else ShardState.NEW:
        case ShardState.NEW:
            return "its primary is not known yet"
        case ShardState.HELD:
            return "its primary came back without its data, and no replica may take over (shardproxy status)"
        case ShardState.CONFLICT:
            return "two of its nodes claim to be the primary (shardproxy status)"
    return None


def primary_served(record: ShardRecord) -> Address | None:
    """Where requests go: nowhere while nobody may acknowledge writes.

    In a switchover the last primary is asked on: it holds writes back while it hands over, and then refuses
    them unexecuted; what it answers until then counts.
    """
    if record.state is ShardState.OK:
        return record.primary
    return record.last if record.state is ShardState.SWITCHING else None


def terms_of(shard: Shard, setup: ShardSetup, record: ShardRecord | None, fit: Fit) -> ShardTerms:
    """On what the shard's requests may be answered."""
    wait = max(record.wait if record is not None else 0, setup.wait)  # who leads may have an older config
    if fit.is_unsynced:  # who confirms a write is not frozen: its primary was not replaced before that
        wait = max(wait, record.promise.proving if record is not None else 1)
    run_id = record.run_id if record is not None and shard.primary is not None else ""
    return ShardTerms(
        label=shard.label,
        run_id=run_id or None,
        wait=wait,
        voters=fit.voters if wait else None,
        is_replaceable=fit.is_replaceable,
        limits=fit.limits,
        read_only=fit.no_writes if shard.primary is not None else None,
        hold=record.hold if record is not None else None,
        is_mixed=record is not None and record.is_mixed,
        seal=fit.seal if shard.primary is not None else None,
    )


def news_of(before: Projection, now: Projection) -> str:
    """What is new on record, for people."""
    old = {part.key: part.changed for part in before.parts}
    said = []
    for part in now.parts:
        if part.record is not None and part.changed != old.get(part.key):
            who = f"primary {part.shard.primary}" if part.shard.primary is not None else "no primary"
            state = part.record.state.value
            said.append(f"shard {part.shard.label} {state} at epoch {part.record.epoch}, {who}")
    more = [f"and {len(said) - NEWS_TOLD} more"] if len(said) > NEWS_TOLD else []
    return "; ".join([*said[:NEWS_TOLD], *more]) or "a shard changed that is not configured here"
