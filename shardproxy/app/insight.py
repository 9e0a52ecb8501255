"""Gathers what insight is told: of the config, the command table, the users, the records, and the data plane.

request ─> table, config, users ─┐
keys ─> data plane: slots ───────┼─> Question ─> explain (pure)
records, health, readable ───────┘
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any

import trio

from shardproxy.admin.hot_document import hot_document
from shardproxy.caching.matching import pattern_regex
from shardproxy.commands.acl import rules_of
from shardproxy.commands.effective import command_under
from shardproxy.commands.table import Command, Table
from shardproxy.config import MemcachedCluster, RedisCluster
from shardproxy.dataplane import DataPlane
from shardproxy.dataplane._native import Placer
from shardproxy.dataplane.rules import RuleError
from shardproxy.dataplane.spec import ShardTerms
from shardproxy.dataplane.statistics import NodeStatistics
from shardproxy.dataplane.users import ANYBODY, ProxyUser, user_line
from shardproxy.failover.setup import ShardSetup
from shardproxy.health.monitor import Boards
from shardproxy.health.staleness import why_not_readable
from shardproxy.insight.advice import Hot, advise
from shardproxy.insight.bigkeys import Place, scan
from shardproxy.insight.explain import (
    AccessFacts,
    CommandFacts,
    KeyFacts,
    NodeFacts,
    Question,
    RuleFacts,
    ShardFacts,
    explain,
)
from shardproxy.insight.figures import ClusterFigures, figures_document
from shardproxy.insight.interface import Asked, InsightError, Lines
from shardproxy.insight.loss import Loss, loss_of_primary
from shardproxy.insight.memcached import MemcachedFacts, explain_memcached, keys_of
from shardproxy.insight.observe import observe
from shardproxy.model import Address, EndpointKind, Engine, Node, Shard, Topology
from shardproxy.model.health import Cause, NodeDown, NodeHealth, NodeKey, PoolKey
from shardproxy.model.replication import ShardKey
from shardproxy.nodes import NodeLinks
from shardproxy.store.notes import Note, NoteKey, is_paused
from shardproxy.store.record import ShardRecord
from shardproxy.topology.project import Configured

WINDOW = 2.0  # seconds over which figures are compared
OBSERVING = 2  # observations at once
NEAR = frozenset({"get", "mget", "hgetall"})  # what the near cache answers
HOT = 10  # keys, slots and families that advice is about
NO_SCAN = (
    "memcached has no SCAN: it cannot list its keys a few at a time, and its metadump walks all of a node's"
    " memory at once; shardproxy bigkeys shows the largest replies that this proxy has seen"
)


@dataclass(frozen=True)
class InsightTools:
    """What there is to look at; all is as it is now whenever it is read."""

    dataplane: DataPlane
    clusters: Mapping[str, Configured]
    topologies: Mapping[str, Topology]
    setups: Mapping[ShardKey, ShardSetup]
    records: Mapping[ShardKey, ShardRecord]
    boards: Boards
    readable: Mapping[ShardKey, frozenset[Address]]
    down: Mapping[PoolKey, NodeDown]
    notes: Mapping[NoteKey, Note]
    users_of: Callable[[str], tuple[ProxyUser, ...]]
    terms: Callable[[], Mapping[ShardKey, ShardTerms]]  # of shards, as they are served
    links_of: Callable[[str], NodeLinks]


@dataclass(frozen=True, slots=True)
class _Served:
    """What all shards and nodes are served with, read once for a question."""

    terms: Mapping[ShardKey, ShardTerms]
    nodes: Mapping[str, NodeStatistics]


class InsightDesk:
    """One process's."""

    def __init__(self, tools: InsightTools) -> None:
        self._tools = tools
        self._scanning: set[str] = set()
        self._observing = trio.CapacityLimiter(OBSERVING)

    # --- explain ---

    def explain(self, asked: Asked) -> dict[str, Any]:
        topology, configured = self._topology(asked.cluster), self._tools.clusters.get(asked.cluster)
        config = configured.settings.config if configured is not None else None
        if configured is not None and isinstance(config, RedisCluster):
            return explain(self._question(asked, topology, configured, config))
        if isinstance(config, MemcachedCluster):
            return explain_memcached(self._of_pool(asked, topology, config))
        raise self._unknown(asked.cluster)

    def _question(
        self, asked: Asked, topology: Topology, configured: Configured, config: RedisCluster
    ) -> Question:
        table = table_of(self._tools.dataplane.table)
        command = command_under(table, config.commands, asked.args)
        args = asked.args if command is None else (_real(asked.args, command), *asked.args[1:])
        keys: tuple[KeyFacts, ...] = ()
        keys_error = None
        if command is not None and command.is_arity(len(args)):
            keys, keys_error = self._keys(asked.cluster, args, topology, config)
        zone = asked.zone or configured.settings.zone
        endpoint = _endpoint(asked.endpoint, config)
        return Question(
            asked.cluster,
            asked.args,
            _command_facts(command, args),
            self._access(asked, table, args, command),
            endpoint,
            zone,
            config.reads.source.value,
            config.reads.max_staleness,
            config.endpoints.reader is not None,
            config.is_relaxed,
            keys,
            keys_error,
            self._shards(topology, keys, config, zone),
            config.limits.model_dump(),
            config.timeouts.model_dump(),
            config.failover.busy_limit,
            _rule_of(config, keys),
            _near_of(config, command, keys),
        )

    def _keys(
        self, cluster: str, args: tuple[bytes, ...], topology: Topology, config: RedisCluster
    ) -> tuple[tuple[KeyFacts, ...], str | None]:
        try:
            places = placer_of(self._tools.dataplane.table).keys(list(args))
        except ValueError as error:
            return (), str(error)
        families = [(rule.match, rule.hash) for rule in config.families]
        found = []
        for place in dict.fromkeys(places):
            key = args[place]
            slot = self._tools.dataplane.slot(cluster, key)
            shard = topology.shard_of(slot)
            family = next((f"{m} by {h}" for m, h in families if pattern_regex(m).fullmatch(key)), None)
            index = shard.index if shard is not None else None
            found.append(KeyFacts(key, slot, index, None if family else _tag(key), family))
        return tuple(found), None

    def _access(
        self, asked: Asked, table: Table, args: tuple[bytes, ...], command: Command | None
    ) -> AccessFacts:
        users = {user.name: user for user in self._tools.users_of(asked.cluster)}
        user = users.get(asked.user if asked.user is not None else ANYBODY.name)
        if user is None:
            raise InsightError(404, f"no user {asked.user} in {asked.cluster}; there is: {', '.join(users)}")
        if users == {ANYBODY.name: ANYBODY}:
            return AccessFacts(user.name, is_asked=False)
        if not user.is_enabled:
            why = "it is not enabled, so nobody can log in as it"
            return AccessFacts(user.name, why=why, reply="NOAUTH Authentication required.")
        if command is None:
            return AccessFacts(user.name)
        try:
            denied = rules_of(table).why_denied(user_line(user), args)
        except RuleError:
            return AccessFacts(user.name)  # a wrong number of arguments: nobody may do that
        if denied is None:
            return AccessFacts(user.name)
        kind, name = denied
        why = f"its rules deny the {kind} {name.decode(errors='backslashreplace')}"
        return AccessFacts(user.name, why=why, reply=_noperm(table, user.name, kind, command.name))

    def _shards(
        self, topology: Topology, keys: tuple[KeyFacts, ...], config: RedisCluster, zone: str | None
    ) -> tuple[ShardFacts, ...]:
        """Those that the keys go to; without keys the first."""
        wanted = {key.shard for key in keys}
        shards = [shard for shard in topology.shards if shard.index in wanted] or topology.shards[:1]
        counts = self._tools.dataplane.statistics().clusters.get(topology.cluster)
        served = _Served(self._tools.terms(), counts.nodes if counts is not None else {})
        return tuple(self._shard(topology, shard, config, zone, served) for shard in shards)

    def _shard(
        self, topology: Topology, shard: Shard, config: RedisCluster, zone: str | None, served: _Served
    ) -> ShardFacts:
        key = topology.key_of(shard)
        record, setup = self._tools.records.get(key), self._tools.setups.get(key)
        healths = {node.address: self._health(key, node.address) for node in shard.nodes}
        terms = served.terms.get(key, ShardTerms())
        wait = config.writes.wait if terms.wait is None else terms.wait
        return ShardFacts(
            shard.index,
            shard.number,
            shard.label,
            tuple(
                self._node(topology, shard, node, healths, config.reads.max_staleness, served.nodes)
                for node in shard.nodes
            ),
            shard.why_not,
            shard.is_refused,
            terms.read_only,
            terms.hold.slots if terms.hold is not None else (),
            terms.hold is not None and terms.hold.only_writes,
            wait,
            loss=self._loss(record, setup, zone),
        )

    def _loss(self, record: ShardRecord | None, setup: ShardSetup | None, zone: str | None) -> Loss | None:
        if setup is None:
            return None
        nodes = record.nodes if record is not None else ()
        healths = {node: self._health(setup.key, node) for node in nodes}
        paused = is_paused(self._tools.notes, setup.key.cluster)
        return loss_of_primary(record, setup, healths, zone=zone, is_paused=paused)

    def _node(
        self,
        topology: Topology,
        shard: Shard,
        node: Node,
        healths: Mapping[Address, NodeHealth | None],
        max_staleness: float,
        counts: Mapping[str, NodeStatistics],
    ) -> NodeFacts:
        key, health = topology.key_of(shard), healths.get(node.address)
        primary = healths.get(shard.primary.address) if shard.primary is not None else None
        readable = self._tools.readable.get(key)
        is_primary = node == shard.primary
        seen, of_primary = _replication(health), _replication(primary)
        lag, count = None, counts.get(str(node.address))
        if seen is not None and of_primary is not None and not is_primary:
            lag = max(0, of_primary.offset - seen.offset)
        return NodeFacts(
            node.address,
            is_primary,
            node.zone,
            health.verdict.state.value if health else "unknown",
            health.verdict.reason if health else "not asked yet",
            is_answering=health is None or health.verdict.is_answering or not _is_lost(health),
            is_silent=health is not None and health.verdict.cause is Cause.SILENT,
            is_readable=readable is None or node.address in readable,
            why_not_readable=why_not_readable(seen, of_primary, None, None) or _too_old(max_staleness),
            outstanding=count.queued if count is not None else 0,
            lag=lag,
        )

    def _health(self, key: ShardKey, node: Address) -> NodeHealth | None:
        found: NodeKey = (key, node)
        return self._tools.boards.health.get(found)

    def _of_pool(self, asked: Asked, topology: Topology, config: MemcachedCluster) -> MemcachedFacts:
        nodes = {}
        for key in keys_of(asked.args):
            found = self._tools.dataplane.node(asked.cluster, key)
            nodes[key] = str(found) if found is not None else None
        down = {
            str(node.address): state.reason
            for node in topology.nodes
            if (state := self._tools.down.get((asked.cluster, node.address))) is not None
        }
        return MemcachedFacts(
            asked.cluster,
            asked.args,
            {str(node.address): shard.number for shard in topology.shards for node in shard.nodes},
            nodes,
            down,
            config.on_failure.action.value,
            config.hashing.method.value,
            config.limits.model_dump(),
            config.timeouts.model_dump(),
        )

    # --- figures ---

    async def usage(self, cluster: str | None, keys: int) -> dict[str, Any]:
        return {
            name: figures_document(figures) for name, figures in (await self._figures(cluster, keys)).items()
        }

    async def advice(self, cluster: str | None) -> dict[str, Any]:
        figures = await self._figures(cluster, 0)
        return {
            name: [finding.document() for finding in advise(one, await self._hot(name))]
            for name, one in figures.items()
        }

    async def _hot(self, cluster: str) -> Hot:
        return hot_document(await self._tools.dataplane.hot(cluster), "requests", HOT)

    async def _figures(self, cluster: str | None, keys: int) -> dict[str, ClusterFigures]:
        names = [cluster] if cluster is not None else sorted(self._tools.topologies)
        for name in names:
            self._topology(name)
        found: dict[str, ClusterFigures] = {}

        async def look(name: str) -> None:
            found[name] = await self._observe(name, keys)

        async with self._observing, trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(look, name)
        return {name: found[name] for name in names}

    async def _observe(self, cluster: str, keys: int) -> ClusterFigures:
        tools = self._tools
        configured = tools.clusters.get(cluster)
        async with tools.links_of(cluster) as links:
            return await observe(
                self._topology(cluster),
                links,
                lambda: tools.dataplane.statistics().clusters.get(cluster),
                partial(tools.dataplane.slot, cluster),
                seconds=WINDOW,
                keys=keys,
                zone=configured.settings.zone if configured is not None else None,
            )

    # --- large keys ---

    def scan(self, cluster: str, *, rate: int, limit: int, samples: int) -> Lines:
        topology = self._topology(cluster)
        if topology.engine is not Engine.REDIS:
            raise InsightError(400, NO_SCAN)
        if cluster in self._scanning:
            raise InsightError(409, f"{cluster} is scanned already: wait for that to end, or end it")
        places = [place for shard in topology.shards if (place := self._place(topology, shard)) is not None]
        return self._scan(cluster, places, rate, limit, samples)

    async def _scan(
        self, cluster: str, places: list[Place], rate: int, limit: int, samples: int
    ) -> AsyncIterator[dict[str, Any]]:
        if cluster in self._scanning:
            yield {"error": f"{cluster} is scanned already"}  # by who asked at the same moment
            return
        self._scanning.add(cluster)
        try:
            async with self._tools.links_of(cluster) as links:
                lines = scan(places, links, rate=rate, limit=limit, samples=samples)
                async with aclosing(lines):  # type: ignore[type-var]
                    async for line in lines:
                        yield line
        finally:
            self._scanning.discard(cluster)

    def _place(self, topology: Topology, shard: Shard) -> Place | None:
        """A replica that gets every write, else the primary."""
        fit = self._tools.boards.reads.get(topology.key_of(shard), frozenset())
        replica = next((node for node in shard.replicas if node.address in fit), None)
        node = replica or shard.primary
        return Place(shard.number, node.address) if node is not None else None

    def _topology(self, cluster: str) -> Topology:
        if (topology := self._tools.topologies.get(cluster)) is None:
            raise self._unknown(cluster)
        return topology

    def _unknown(self, cluster: str) -> InsightError:
        known = ", ".join(sorted(self._tools.topologies)) or "none"
        return InsightError(404, f"no cluster {cluster} is served; there is: {known}")


@lru_cache(maxsize=2)
def table_of(text: bytes) -> Table:
    """Of the command table as the data plane has it."""
    return Table.parse(text.decode())


@lru_cache(maxsize=2)
def placer_of(text: bytes) -> Placer:
    """Where a request's keys are, by that table."""
    return Placer(text, [])


def _real(args: tuple[bytes, ...], command: Command) -> bytes:
    """The name of a command that clients may know under another one."""
    return command.name.partition("|")[0].encode("utf-8", "surrogateescape")


def _command_facts(command: Command | None, args: tuple[bytes, ...]) -> CommandFacts:
    if command is None:
        name = args[0].decode("utf-8", "backslashreplace").lower()
        return CommandFacts(name, route="unknown", is_known=False)
    return CommandFacts(
        command.name,
        command.route,
        command.join,
        command.note or "",
        is_read="readonly" in command.flags,
        is_arity=command.is_arity(len(args)),
        is_slow=command.is_slow,
        names_database=command.route == "database" and _names_database(command.name, args),
    )


def _names_database(name: str, args: tuple[bytes, ...]) -> bool:
    """Whether a command of databases needs more than one: COPY does only with DB and another than 0."""
    if name != "copy":
        return True
    return any(word.upper() == b"DB" and after != b"0" for word, after in pairwise(args[3:]))


def _noperm(table: Table, user: str, kind: str, name: str) -> str:
    """As the data plane says it, in the words that engines have since 7.2, or had before."""
    version = tuple(int(part) for part in table.version.split(".")[:2])
    if version >= (7, 2):
        if kind == "command":
            return f"NOPERM User {user} has no permissions to run the '{name}' command"
        return f"NOPERM No permissions to access a {kind}"
    what = (
        f"run the '{name}' command" if kind == "command" else f"access one of the {kind}s used as arguments"
    )
    return f"NOPERM this user has no permissions to {what}"


def _endpoint(asked: str | None, config: RedisCluster) -> EndpointKind:
    """Where it comes in: as asked, or by the first that the cluster has."""
    if asked is not None:
        try:
            return EndpointKind(asked)
        except ValueError:
            kinds = ", ".join(kind.value for kind in EndpointKind)
            raise InsightError(400, f"endpoint: one of {kinds}") from None
    kinds_there = [kind for kind, _, _ in config.listened]
    first = (kind for kind in EndpointKind if kind in kinds_there)
    return next(first, EndpointKind.CONFIGURATION)


def _tag(key: bytes) -> bytes | None:
    """What stands between braces and is hashed (Redis Cluster specification, hash tags)."""
    begin = key.find(b"{")
    end = key.find(b"}", begin + 1) if begin >= 0 else -1
    return key[begin + 1 : end] if end > begin + 1 else None


def _rule_of(config: RedisCluster, keys: tuple[KeyFacts, ...]) -> RuleFacts | None:
    """The first caching rule that matches the first key."""
    rules = config.caching.rules if config.caching is not None and keys else ()
    for rule in rules:
        if pattern_regex(rule.match).fullmatch(keys[0].key):
            does = [
                *(["what the engine has not is loaded from its source"] if rule.loads else []),
                *(["its writes go to the source, too"] if rule.writes else []),
                *(["old values may be served while it is loaded anew"] if rule.checks else []),
            ]
            return RuleFacts(rule.match, "; ".join(does))
    return None


def _near_of(config: RedisCluster, command: Command | None, keys: tuple[KeyFacts, ...]) -> RuleFacts | None:
    near = config.near_cache
    if near is None or command is None or command.name not in NEAR or not keys:
        return None
    patterns = near.match or ("*",)
    found = next((p for p in patterns if pattern_regex(p).fullmatch(keys[0].key)), None)
    if found is None:
        return None
    return RuleFacts(
        found, "while its key is asked for often the proxy answers it from its own memory, asking no node"
    )


def _replication(health: NodeHealth | None) -> Any:
    return health.replication if health is not None else None


def _is_lost(health: NodeHealth) -> bool:
    """Whether requests to it cannot be expected to be answered."""
    return health.verdict.is_down or health.verdict.state.value in ("cut off", "denied")


def _too_old(max_staleness: float) -> str:
    return f"its data may be older than {max_staleness:g} s"
