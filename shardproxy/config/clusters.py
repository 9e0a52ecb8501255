"""A cluster: one engine, its endpoints, its shards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from shardproxy.config.access import Access, access_short
from shardproxy.config.backups import Backups
from shardproxy.config.base import Section, refused
from shardproxy.config.caching import Caching, why_not_for_memcached
from shardproxy.config.commands import Commands
from shardproxy.config.discovery import Discovery, with_placeholder
from shardproxy.config.durations import PositiveDuration
from shardproxy.config.endpoints import Endpoint, MemcachedEndpoints, Mode, RedisEndpoints
from shardproxy.config.failure import FailureAction, OnFailure, on_failure_short
from shardproxy.config.families import Family, KeyFamily
from shardproxy.config.hashing import Hashing, HashMethod, as_hashing, why_not_placed
from shardproxy.config.hot import HotKeys
from shardproxy.config.limits import ClusterLimits
from shardproxy.config.near import NearCache
from shardproxy.config.node_auth import NodeAuth, PasswordAuth
from shardproxy.config.nodes import MemcachedNode, NodeType, short
from shardproxy.config.persistence import Persistence
from shardproxy.config.replication import Failover, Replication, Writes
from shardproxy.config.scaling import Scaling
from shardproxy.config.shards import MAX_SHARDS, RedisShard
from shardproxy.config.slots import assign_slots, weighted_slots
from shardproxy.config.slow_log import SlowLog
from shardproxy.config.store import Store
from shardproxy.config.timeouts import ClusterTimeouts, RedisTimeouts
from shardproxy.config.tls import NodeTls, Tls, why_no_tls
from shardproxy.config.topology import FromConfig, FromRedisCluster, FromSentinel, TopologyFrom
from shardproxy.model import SLOT_COUNT, Address, EndpointKind, Engine, Shard, SlotRange, Topology


class ReadFrom(Enum):
    """Which node of a shard answers a read."""

    PRIMARY = "primary"
    REPLICA = "replica"
    NEAREST = "nearest"


class SlotRule(Enum):
    """What commands meet whose keys are in several slots, where one shard has all slots."""

    RELAXED = "relaxed"
    STRICT = "strict"


DECIDERS = {"sentinel": "Sentinel", "redis-cluster": "the Redis Cluster"}  # in words
DATABASES = 16  # of an engine that is not told otherwise
MAX_DATABASES = 1024  # each that is in use takes a connection of every worker to every node


class Reads(Section):
    """How reads are routed."""

    source: ReadFrom = Field(default=ReadFrom.PRIMARY, alias="from")
    """Who answers reads on the configuration endpoint: `primary`, `replica`, or `nearest` (any node)."""
    max_staleness: PositiveDuration = 1.0
    """How old what a replica answers may be; one that is further behind is not read from."""


class Publishing(Enum):
    """Where messages on channels are published."""

    ORDERED = "ordered"
    SPREAD = "spread"


DECIDED_WITHIN = 10.0  # seconds, by Sentinel or a Redis Cluster as commonly set up
REPLACED_WITHIN = 5.0  # seconds, by the next proxy that decides


class _Cluster(Section):
    """What clusters of every engine have."""

    node_type: NodeType | None = None
    """Machine type of all nodes."""
    limits: ClusterLimits = ClusterLimits.as_default()
    """How much clients and requests may take."""
    timeouts: ClusterTimeouts = ClusterTimeouts.as_default()
    """How long connecting, answering and idling may take."""
    access: Annotated[Access, access_short()] | None = None
    """Who may use the cluster: users and their rights, or `open` where nobody has to log in. It has to be
    said where an endpoint is not on loopback."""
    tls: Tls | None = None
    """How clients speak TLS: at all `endpoints`, or at `tls_endpoints` where these are given."""
    node_tls: NodeTls | None = None
    """How the nodes are spoken to in TLS. Default: they are spoken to in plain."""
    caching: Caching | None = None
    """What is loaded from a database or elsewhere when it is asked for, and written there."""
    hot_keys: HotKeys = HotKeys.as_default()
    """Which keys are asked for often, and which are large: how closely the proxy looks at that."""
    slow_log: SlowLog = SlowLog.as_default()
    """Which requests are kept as slow, with where their time went."""

    endpoints: RedisEndpoints | MemcachedEndpoints
    tls_endpoints: RedisEndpoints | MemcachedEndpoints | None

    @model_validator(mode="after")
    def _tls_is_spoken_over_tcp(self) -> Self:
        if self.tls is None:
            if self.tls_endpoints is not None:
                raise refused("tls_endpoints need tls", "add tls: {certificate: tls.crt, key: tls.key}")
            return self
        for _, endpoint, speaks_tls in self.listened:
            for address in endpoint.addresses:
                if speaks_tls and (fault := why_no_tls(address)) is not None:
                    raise refused(*fault)
        return self

    @model_validator(mode="after")
    def _caching_is_passed_by_nobody(self) -> Self:
        configuration = self.endpoints.configuration
        if self.caching is not None and configuration is not None and configuration.mode is Mode.DIRECT:
            raise refused(
                "caching and mode: direct contradict each other",
                "leave out mode: direct: clients that go to the nodes themselves pass the rules by",
            )
        return self

    @property
    def listened(self) -> tuple[tuple[EndpointKind, Endpoint, bool], ...]:
        """All endpoints, each with its kind and whether TLS is spoken there."""
        if self.tls_endpoints is None:
            return tuple((*one, self.tls is not None) for one in self.endpoints.listed)
        plain = tuple((*one, False) for one in self.endpoints.listed)
        return plain + tuple((*one, True) for one in self.tls_endpoints.listed)


C = TypeVar("C", bound=_Cluster)


def _reached_by_tls(cluster: C, nodes: Iterable[Address]) -> C:
    """Raise what is wrong where nodes are to be spoken to in TLS and cannot be."""
    for address in nodes:
        if cluster.node_tls is not None and (fault := why_no_tls(address)) is not None:
            raise refused(*fault)
    return cluster


class RedisCluster(_Cluster):
    """Shards of Redis or Valkey behind one name."""

    engine: Literal["redis"]
    """What the nodes run: `redis` for Redis and Valkey, or `memcached`."""
    endpoints: RedisEndpoints
    """Where applications connect."""
    tls_endpoints: RedisEndpoints | None = None
    """Where applications connect that speak TLS. With these, `endpoints` stay plain."""
    reads: Reads = Reads.as_default()
    """How reads are routed."""
    pubsub: Publishing = Publishing.ORDERED
    """`ordered`: all channels on one shard, so that each publisher is heard in its order, as on one Redis;
    `spread`: by their names on all shards, for more messages. Shard channels always go by their slots."""
    writes: Writes = Writes.as_default()
    """When a write is acknowledged."""
    replication: Replication = Replication.ADOPT
    """`adopt`: keep what the nodes do at start; `managed`: make them replicate as the shards below say."""
    failover: Failover = Failover.as_default()
    """When a replica replaces a primary that is down."""
    persistence: Persistence | None = None
    """What the nodes keep on disk: set on them, and watched. Default: as their own config says."""
    timeouts: RedisTimeouts = RedisTimeouts.as_default()
    """How long connecting, answering, idling and waiting for a failover may take."""
    scaling: Scaling | None = None
    """How many of the shards below have slots, by how busy and how full they are. Default: as they are."""
    node_auth: NodeAuth | None = None
    """How the proxy logs in to the nodes. Besides what clients may do, the user needs PING, INFO, ROLE,
    CLIENT, PUBSUB, COMMAND and CONFIG GET; to fail over also REPLICAOF, FAILOVER, CONFIG SET and REWRITE,
    and for `persistence` MULTI and EXEC."""
    decider: Annotated[TopologyFrom, Field(discriminator="source")] = Field(
        default=FromConfig.as_default(), alias="topology"
    )
    """Who says which nodes there are and which of them are primaries. Default: the shards below."""
    shards: Annotated[tuple[RedisShard, ...], Field(min_length=1, max_length=MAX_SHARDS)] = ()
    """The shards. Slots are split evenly between them unless given. Where something else decides (`topology`)
    they may be left out; given, they say which slots shards have, and in which zones nodes are."""
    slots: SlotRule | None = None
    """What a cluster of one shard is to clients: `relaxed` (default): one Redis, whatever the slots of keys;
    `strict`: what several shards are, for those who will grow: CROSSSLOT for keys in several slots, and
    database 0 alone. Several shards are always strict. (Which slots a shard has is said with the shard.)"""
    databases: Annotated[int, Field(ge=1, le=MAX_DATABASES)] | None = None
    """How many databases clients may select where one shard is relaxed; no more than the nodes have.
    Default: 16. Several shards have database 0 alone."""
    commands: Commands = Commands.as_default()
    """Which commands clients may use, and under which names."""
    key_families: Annotated[tuple[Family, ...], Field(max_length=100)] = ()
    """Keys that share a slot, as an application touches them together; the first rule that matches counts."""
    backups: Backups | None = None
    """Where backups are kept, and when they are made."""
    near_cache: NearCache | None = None
    """Answer reads of hot keys from the proxy's own memory: GET, HGETALL and MGET. A key that is written is
    forgotten before its writer is told; what others write, as soon as the node tells. Default: nothing is
    kept."""

    @model_validator(mode="after")
    def _one_decides(self) -> Self:
        decider = self.decider
        if isinstance(decider, FromConfig):
            return self
        if self.replication is Replication.MANAGED:
            raise refused(
                f"replication: managed and topology: {{from: {decider.source}}} contradict each other",
                f"leave out replication: {DECIDERS[decider.source]} says who replicates whom",
            )
        if self.failover.enabled and "enabled" in self.failover.model_fields_set:
            raise refused(
                f"failover: {{enabled: true}} and topology: {{from: {decider.source}}} contradict each other",
                f"leave out enabled: {DECIDERS[decider.source]} decides about failovers",
            )
        if "fencing" in self.failover.model_fields_set:
            raise refused(
                f"failover: {{fencing}} has no use with topology: {{from: {decider.source}}}",
                f"leave it out: {DECIDERS[decider.source]} promotes without asking",
            )
        if self.scaling is not None:
            raise refused(
                f"scaling and topology: {{from: {decider.source}}} contradict each other",
                f"leave out scaling: {DECIDERS[decider.source]} decides who has which slots",
            )
        if self.backups is not None:
            raise refused(
                f"backups and topology: {{from: {decider.source}}} contradict each other",
                f"leave out backups: only what the proxy decides about is backed up, and"
                f" {DECIDERS[decider.source]} does here",
            )
        if self.persistence is not None:
            raise refused(
                f"persistence is set at the nodes, and with topology: {{from: {decider.source}}} the proxy"
                " sets nothing there",
                "leave it out, and set appendonly, appendfsync and save in the nodes' own config",
            )
        if self.writes.min_replicas is not None:
            raise refused(
                "writes: {min_replicas} is set at the nodes, and with topology: {from:"
                f" {decider.source}}} the proxy sets nothing there",
                "leave it out, and set min-replicas-to-write in the nodes' own config",
            )
        return self

    @model_validator(mode="after")
    def _shards_fit_the_decider(self) -> Self:
        if isinstance(self.decider, FromRedisCluster) and any(one.slots is not None for one in self.shards):
            raise refused(
                "slots of shards and topology: {from: redis-cluster} contradict each other",
                "leave out slots: the nodes know which they have",
            )
        if isinstance(self.decider, FromRedisCluster) and self.key_families:
            raise refused(
                "key_families and topology: {from: redis-cluster} contradict each other",
                "leave out key_families: the nodes know slots by hash tags alone, as in {user:1}:cart",
            )
        if isinstance(self.decider, FromRedisCluster) and self.pubsub is Publishing.SPREAD:
            raise refused(
                "pubsub: spread and topology: {from: redis-cluster} contradict each other",
                "leave out pubsub: each node tells all others what is published on it",
            )
        if isinstance(self.decider, FromSentinel) and self.shards:
            names = list(self.decider.names)
            given = [shard.name for shard in self.shards if shard.name is not None]
            if given and set(given) != set(names):
                raise refused(
                    "the shards are not those of topology: {names: ...}",
                    f"call them {', '.join(names)}, in any order, or leave out all of their names",
                )
            if len(names) != len(self.shards):
                raise refused(
                    f"shards: has {len(self.shards)} entries, and topology: {{names: ...}} has {len(names)}",
                    "list a name for each shard, in the order of the shards",
                )
        return self

    @model_validator(mode="after")
    def _families_are_followed(self) -> Self:
        configuration = self.endpoints.configuration
        if self.key_families and configuration is not None and configuration.mode is Mode.DIRECT:
            raise refused(
                "key_families and mode: direct contradict each other",
                "leave out mode: direct: clients that go to the nodes themselves know no families",
            )
        return self

    @model_validator(mode="after")
    def _one_shard_is_relaxed(self) -> Self:
        if self.slots is SlotRule.RELAXED and self.shard_count != 1:
            raise refused(
                "slots: relaxed needs a cluster of one shard: no engine has the keys of several",
                "leave it out; key_families puts keys that are used together into one slot",
            )
        if self.databases is not None and self.databases > 1 and not self.is_relaxed:
            why = "several shards have" if self.shard_count != 1 else "slots: strict leaves"
            raise refused(f"{why} database 0 alone, not {self.databases}", "leave out databases:")
        return self

    @model_validator(mode="after")
    def _replicas_suffice(self) -> Self:
        if self.is_delegated:
            return self  # who is there is found out
        wanted = max(self.writes.wait, self.writes.min_replicas or 0)
        fewest = min((len(shard.nodes) for shard in self.shards), default=1) - 1
        if wanted > fewest:
            key = "wait" if self.writes.wait == wanted else "min_replicas"
            raise refused(
                f"writes.{key} is {wanted}, but a shard has only {fewest} replicas: no write would succeed",
                f"write {key}: {fewest} or less, or add nodes to the shard",
            )
        return self

    @model_validator(mode="after")
    def _nodes_are_reached_by_tls(self) -> Self:
        addresses = [node.address for shard in self.shards for node in shard.nodes]
        return _reached_by_tls(self, addresses)

    @model_validator(mode="after")
    def _replicas_can_follow(self) -> Self:
        for shard in self.shards:
            if (
                self.replication is Replication.MANAGED
                and len(shard.nodes) > 1
                and any(node.address.is_unix for node in shard.nodes)
            ):
                raise refused(
                    "replication: managed needs host:port for the nodes of a shard with replicas",
                    "engines replicate over TCP only: write 127.0.0.1:6379 rather than unix:/...",
                )
        return self

    @property
    def is_delegated(self) -> bool:
        """Whether something else decides who is primary: the proxy then changes nothing at any node."""
        return not isinstance(self.decider, FromConfig)

    @property
    def shard_count(self) -> int | None:
        """How many shards there are; None where only the nodes know."""
        match self.decider:
            case FromSentinel():
                return len(self.decider.names)
            case FromRedisCluster():
                return None
        return len(self.shards)

    def shard_named(self, name: str) -> RedisShard | None:
        """What is said here of a shard whose primary Sentinels name; nameless ones stand in their order."""
        if not isinstance(self.decider, FromSentinel) or not self.shards:
            return None
        if self.shards[0].name is None:
            return self.shards[list(self.decider.names).index(name)]
        return next((shard for shard in self.shards if shard.name == name), None)

    @property
    def is_strict(self) -> bool:
        """Whether one shard is what several are: it is to grow, or its engine takes no two slots at once."""
        return self.slots is SlotRule.STRICT or isinstance(self.decider, FromRedisCluster)

    @property
    def is_relaxed(self) -> bool:
        """Whether clients meet one Redis, which asks for nobody's slots."""
        return self.shard_count == 1 and not self.is_strict

    def patient(self, store: Store | None) -> RedisCluster:
        """The same, its requests waiting as long as whoever decides may take, where nothing is said."""
        if "park" in self.timeouts.model_fields_set or (store is None and not self.is_delegated):
            return self
        park = DECIDED_WITHIN if self.is_delegated or store is None else store.ttl + REPLACED_WITHIN
        return self.model_copy(update={"timeouts": self.timeouts.model_copy(update={"park": park})})

    @property
    def reads_replicas(self) -> bool:
        """Whether any client may be answered by a replica."""
        return self.reads.source is not ReadFrom.PRIMARY or self.endpoints.reader is not None

    @property
    def families(self) -> tuple[KeyFamily, ...]:
        """The rules of all key families, presets written out, in their order."""
        return tuple(rule for family in self.key_families for rule in family.rules())

    @property
    def kind(self) -> Engine:
        return Engine.REDIS

    def topology(self, name: str) -> Topology:
        """Say who owns which slots, as the file has it: the first node of a shard is its primary. Epoch 0.

        Where something else decides, there are no primaries.
        """
        if self.is_delegated:
            return Topology(name, Engine.REDIS, 0, tuple(self._shards_delegated()))
        slots = assign_slots([shard.slots for shard in self.shards])
        shards = []
        for index, shard in enumerate(self.shards):
            primary, *replicas = (node.node() for node in shard.nodes)
            shards.append(Shard(index, slots[index], primary, tuple(replicas), number=index))
        return Topology(name, Engine.REDIS, 0, tuple(shards))

    def _shards_delegated(self) -> Iterator[Shard]:
        """As far as they are known here: the nodes say more."""
        if not isinstance(self.decider, FromSentinel):
            nodes = tuple(node.node() for shard in self.shards for node in shard.nodes)
            yield Shard(0, (SlotRange(0, SLOT_COUNT - 1),), None, nodes, number=0)
            return
        given = [self.shard_named(name) for name in self.decider.names]
        slots = assign_slots([shard.slots if shard is not None else None for shard in given])
        for index, (name, shard) in enumerate(zip(self.decider.names, given, strict=True)):
            nodes = tuple(node.node() for node in shard.nodes) if shard is not None else ()
            yield Shard(index, slots[index], None, nodes, name, number=index)


class MemcachedCluster(_Cluster):
    """A pool of memcached nodes behind one name."""

    def patient(self, store: Store | None) -> MemcachedCluster:
        """The same: nobody waits for a node of a pool."""
        return self

    engine: Literal["memcached"]
    """What the nodes run: `redis` for Redis and Valkey, or `memcached`."""
    endpoints: MemcachedEndpoints
    """Where applications connect."""
    tls_endpoints: MemcachedEndpoints | None = None
    """Where applications connect that speak TLS. With these, `endpoints` stay plain."""
    hashing: Annotated[Hashing, BeforeValidator(as_hashing, json_schema_input_type=HashMethod | Hashing)] = (
        Hashing.as_default()
    )
    """How nodes share the keys."""
    nodes: Annotated[
        tuple[Annotated[MemcachedNode, short(MemcachedNode)], ...], Field(min_length=1, max_length=MAX_SHARDS)
    ] = ()
    """The nodes. Each is a shard of its own: memcached does not replicate."""
    discover: Discovery | None = None
    """Where the nodes are found, instead of `nodes`."""
    on_failure: Annotated[OnFailure, on_failure_short()] = OnFailure.as_default()
    """What happens to the keys of a node that is down: `miss`, `rehash` or `gutter`."""
    node_auth: PasswordAuth | None = None
    """How the proxy logs in to the nodes (memcached -Y)."""
    client_auth: PasswordAuth | None = None
    """What clients must log in with, as memcached -Y asks for it: in short for `access` with one user."""

    @model_validator(mode="before")
    @classmethod
    def _named_for_now(cls, values: Any) -> Any:
        return with_placeholder(values)

    @model_validator(mode="after")
    def _has_nodes(self) -> Self:
        if not self.nodes:
            raise refused("has no nodes", 'write nodes: ["10.0.0.1:11211"], or discover:')
        return self

    @model_validator(mode="after")
    def _users_fit_memcached(self) -> Self:
        if self.access is None:
            return self
        if self.client_auth is not None and self.access.asks_login:
            raise refused("client_auth and access say the same", "list that user under access: users:, too")
        if self.access.iam is not None or self.access.verifier is not None:
            raise refused("memcached's clients log in with passwords alone", "leave out iam and verifier")
        return self

    @model_validator(mode="after")
    def _logins_have_names(self) -> Self:
        for key in ("node_auth", "client_auth"):
            auth: PasswordAuth | None = getattr(self, key)
            if auth is not None and auth.username is None:
                raise refused(f"{key} needs a username: memcached knows no other login", "add username: app")
        return self

    @model_validator(mode="after")
    def _nodes_are_reached_by_tls(self) -> Self:
        return _reached_by_tls(self, [node.address for node in (*self.nodes, *self.on_failure.gutter)])

    @model_validator(mode="after")
    def _values_fit_memcached(self) -> Self:
        if self.caching is None:
            return self
        if faults := why_not_for_memcached(self.caching):
            raise ValidationError.from_exception_data("MemcachedCluster", faults, hide_input=True)
        action = self.on_failure.action
        if action is not FailureAction.MISS and any(rule.writes for rule in self.caching.rules):
            raise refused(
                f"on_failure: {action.value} and rules that write contradict each other: a node that comes"
                " back has what was before",
                "write on_failure: miss",
            )
        return self

    @model_validator(mode="after")
    def _nodes_fit_the_hashing(self) -> Self:
        for node in self.nodes:
            if (fault := why_not_placed(self.hashing.method, node.node())) is not None:
                raise refused(*fault)
        return self

    @property
    def kind(self) -> Engine:
        return Engine.MEMCACHED

    def topology(self, name: str) -> Topology:
        """Say which nodes there are; they own slots only when hashing is by slots. Epoch 0."""
        by_slots = self.hashing.method is HashMethod.SLOTS
        slots = weighted_slots([node.weight for node in self.nodes]) if by_slots else ((),) * len(self.nodes)
        shards = tuple(Shard(i, slots[i], node.node(), number=i) for i, node in enumerate(self.nodes))
        return Topology(name, Engine.MEMCACHED, 0, shards)


Cluster = Annotated[RedisCluster | MemcachedCluster, Field(discriminator="engine")]
