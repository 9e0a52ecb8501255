"""A cluster as the data plane wants to be told: its settings and its topology in one JSON value.

Holds the nodes' password: never log a spec.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NotRequired, TypedDict

from shardproxy.config import (
    Cluster,
    Commands,
    Credentials,
    Endpoint,
    HashMethod,
    MemcachedCluster,
    NodeAuth,
    NodeIdentity,
    PasswordAuth,
    RedisCluster,
    SecretError,
    SecurityGroup,
)
from shardproxy.config.caching import Caching
from shardproxy.config.clusters import DATABASES
from shardproxy.config.files import FilesRead
from shardproxy.config.topology import FromRedisCluster, FromSentinel
from shardproxy.dataplane.inbound import OPEN, InboundSettings, InboundSpec
from shardproxy.dataplane.memcached import VERSION, DiscoverySpec, MemcachedSpec, memcached_spec
from shardproxy.dataplane.tls import (
    CertificateFile,
    NodeTlsSettings,
    NodeTlsSpec,
    TlsSettings,
    TlsSpec,
    decider_tls_read,
    tls_read,
)
from shardproxy.dataplane.users import AccessSpec, ProxyUser, access_spec
from shardproxy.model import Address, EndpointKind, Hold, Node, Shard, Topology
from shardproxy.model.health import EngineLimits
from shardproxy.model.replication import ShardKey
from shardproxy.model.seal import Seal

LOGIN_LASTS = 12 * 3600.0  # seconds, by an IAM token; ElastiCache then ends the connection
Readable = Mapping[ShardKey, frozenset[Address]]  # replicas fit to be read from, of shards that are watched


class DeciderError(SecretError):
    """The same of those who decide about the topology."""


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """What is configured of a cluster beside its shards, secrets read."""

    config: Cluster
    version: str  # of its engines, as clients are told
    credentials: Credentials | None = None
    zone: str | None = None  # of the proxy
    iam: NodeIdentity | None = None  # what tokens for its nodes are signed with, in place of credentials
    inbound: InboundSettings = OPEN
    tls: TlsSettings | None = None  # what clients are spoken to with, where they speak TLS
    node_tls: NodeTlsSettings | None = None
    users: tuple[ProxyUser, ...] | None = None  # None where nobody has to log in
    decider_login: Credentials | None = None  # what those who decide about the topology are logged in to with
    decider_tls: NodeTlsSettings | None = None  # and what they are spoken to in TLS with

    @classmethod
    def read(
        cls,
        config: Cluster,
        version: str,
        zone: str | None = None,
        groups: Iterable[SecurityGroup] = (),
        users: tuple[ProxyUser, ...] | None = None,
        files: FilesRead | None = None,
    ) -> ClusterSettings:
        """Read the secrets of a cluster now, but for those of its users; raise SecretError or TlsError."""
        files = files or FilesRead()
        tls, node_tls = tls_read(config, files)
        login = _login(config.node_auth, files)
        decider = getattr(config, "decider", None)
        sentinel = decider if isinstance(decider, FromSentinel) else None
        return cls(
            config,
            version if isinstance(config, RedisCluster) else VERSION,
            login if isinstance(login, Credentials) else None,
            zone=zone if isinstance(config, RedisCluster) else None,
            iam=login if isinstance(login, NodeIdentity) else None,
            inbound=InboundSettings.read(config, groups),
            tls=tls,
            node_tls=node_tls,
            users=users,
            decider_login=_decider_login(sentinel, files) if sentinel is not None else None,
            decider_tls=decider_tls_read(sentinel, files) if sentinel is not None else None,
        )

    @property
    def certificates(self) -> tuple[CertificateFile, ...]:
        """Those that clients and nodes are shown."""
        all_of_them = (self.tls, self.node_tls, self.decider_tls)
        return tuple(one for settings in all_of_them if settings is not None for one in settings.files)


def _login(auth: NodeAuth | PasswordAuth | None, files: FilesRead) -> Credentials | NodeIdentity | None:
    if auth is None:
        return None
    for file in auth.files:
        files.note(file)
    return auth.read()


def _decider_login(config: FromSentinel, files: FilesRead) -> Credentials | None:
    if config.password is None:
        return None
    if config.password.file is not None:
        files.note(config.password.file)
    try:
        return Credentials(config.username, config.password.read())
    except SecretError as error:
        raise DeciderError(str(error)) from error


@dataclass(frozen=True, slots=True)
class ShardTerms:
    """What is decided of a shard beside its nodes. The defaults ask for nothing."""

    label: str | None = None  # what clients and logs are told it is called; None = its place
    run_id: str | None = None  # of its primary: another process at that address gets nothing
    wait: int | None = None  # replicas that must have a write before it is acknowledged; None = as configured
    seal: Seal | None = None  # what the primary has to say after a write, before it is acknowledged
    voters: frozenset[Address] | None = (
        None  # as the primary lists them in ROLE; None = all that are attached
    )
    is_replaceable: bool = False  # where its primary cannot write, a replica takes over
    limits: EngineLimits | None = None  # what its nodes take; None = as engines' defaults
    read_only: str | None = None  # why writes are refused unsent, while reads go on
    hold: Hold | None = None  # requests that wait unsent
    is_mixed: bool = False  # its nodes may have keys of slots that are another's: clients do not see them


Terms = Mapping[ShardKey, ShardTerms]


class EndpointSpec(TypedDict):
    kind: str
    addresses: list[str]
    tls: NotRequired[bool]  # clients speak TLS there
    proxy_protocol: NotRequired[list[str]]  # the balancers that say where its clients are


class NodeSpec(TypedDict):
    address: str
    zone: str | None
    readable: NotRequired[bool]


class FamilySpec(TypedDict):
    match: str
    hash: str


class CommandsSpec(TypedDict):
    deny: list[str]
    allow: list[str]
    rename: dict[str, str]


class IdentitySpec(TypedDict):
    run_id: str


class HoldSpec(TypedDict):
    slots: list[tuple[int, int]]
    only_writes: bool


class ShardSpec(TypedDict):
    name: str | None  # of a memcached node
    number: NotRequired[int]  # what it keeps wherever it stands among the others; else its place
    label: NotRequired[str]  # what clients and logs are told it is called; else its place
    slots: list[tuple[int, int]]
    primary: int | None  # index into nodes
    nodes: list[NodeSpec]
    weight: int
    identity: NotRequired[IdentitySpec | None]  # who the primary is; nothing = it is not asked
    wait: NotRequired[int]  # so many replicas must have a write before it is acknowledged
    voters: NotRequired[list[str] | None]  # that may vouch for it; nothing = all that are attached
    seal: NotRequired[Seal]  # the script that the primary must have after a write, and the one it must not
    replaceable: NotRequired[bool]  # where its primary cannot write, a replica takes over
    why_not: NotRequired[str]  # why it has no primary, where that is no failover
    read_only: NotRequired[str]  # why writes are refused unsent
    hold: NotRequired[HoldSpec]  # requests that wait unsent
    mixed: NotRequired[bool]  # its nodes may have keys of slots that are another's: clients do not see them
    refused: NotRequired[bool]  # nobody serves it before that is mended
    max_bulk: NotRequired[int]  # bytes of one argument that its nodes take
    max_query: NotRequired[int]  # and of all that is sent and not carried out yet


class CachingRuleSpec(TypedDict):
    match: str  # as of a key family; the first rule that matches a whole key counts
    loads: bool  # what is missing is handed over
    writes: bool  # so are its writes, unsent
    checks: bool  # its keys have an age that somebody has to look at


class CachingSpec(TypedDict):
    rules: list[CachingRuleSpec]  # at most 1000


class NodeAuthSpec(TypedDict):
    username: str | None
    password: str | None
    renew: NotRequired[float]  # log in again after so long, before the node ends the connection


class NearSpec(TypedDict):
    memory: int  # of all workers together
    match: list[str]


class HotSpec(TypedDict):
    sample: int  # one of so many requests is looked at; 0 = none
    keys: int


class SlowLogSpec(TypedDict):
    threshold: float
    entries: int  # of each worker
    values: bool


class ClusterSpec(TypedDict):
    """Sizes are bytes, times are seconds, 0 = no limit."""

    name: str
    engine: str
    epoch: int
    version: str
    endpoints: list[EndpointSpec]
    reads: str
    pubsub: NotRequired[str]
    max_staleness: NotRequired[float]
    wait_timeout: NotRequired[float]
    zone: str | None  # of the proxy
    hashing: str
    key_families: list[FamilySpec]
    commands: CommandsSpec
    caching: NotRequired[CachingSpec]  # nothing = no rules
    strict: NotRequired[bool]  # one shard refuses what several would
    clustered: NotRequired[bool]  # the engines are in cluster mode
    databases: NotRequired[int]  # of one shard
    shards: list[ShardSpec]
    limits: dict[str, int]
    timeouts: dict[str, float]
    node_auth: NodeAuthSpec
    access: NotRequired[AccessSpec]  # nothing = nobody has to log in
    memcached: NotRequired[MemcachedSpec]
    tls: NotRequired[TlsSpec]
    node_tls: NotRequired[NodeTlsSpec]
    near_cache: NotRequired[NearSpec]  # nothing = no replies are kept
    hot_keys: NotRequired[HotSpec]
    slow_log: NotRequired[SlowLogSpec]  # nothing = no request is slow
    inbound: NotRequired[list[InboundSpec]]  # from where one may connect; nothing = from everywhere


def cluster_spec(
    settings: ClusterSettings,
    topology: Topology,
    readable: Readable | None = None,
    discovery: DiscoverySpec | None = None,
    terms: Terms | None = None,
    shards: Iterable[ShardSpec] | None = None,
    credentials: Credentials | None = None,
) -> ClusterSpec:
    """Describe one cluster to the data plane; shards `readable` does not name are read from all nodes.

    `discovery` is what clients of a memcached cluster are told of its layout; `shards` are those of the
    topology where they have been described already; `credentials` are those of the moment, where settings
    have none.
    """
    readable, terms = readable or {}, terms or {}
    wait = settings.config.writes.wait if isinstance(settings.config, RedisCluster) else 0
    config = settings.config
    credentials = settings.credentials if credentials is None else credentials
    spec = ClusterSpec(
        name=topology.cluster,
        engine=topology.engine.value,
        epoch=topology.epoch,
        version=settings.version,
        endpoints=[
            _endpoint(kind, endpoint, speaks_tls, settings.inbound)
            for kind, endpoint, speaks_tls in config.listened
        ],
        reads=config.reads.source.value if isinstance(config, RedisCluster) else "primary",
        zone=settings.zone,
        hashing=_hashing(config).value,
        key_families=_families(config),
        commands=_commands(config),
        shards=[
            shard_spec(shard, readable.get(key), terms.get(key, ShardTerms()), wait)
            for shard in topology.shards
            for key in [topology.key_of(shard)]
        ]
        if shards is None
        else list(shards),
        limits=config.limits.model_dump(),
        timeouts=config.timeouts.model_dump(),
        node_auth=NodeAuthSpec(
            username=credentials.username if credentials else None,
            password=credentials.password if credentials else None,
        ),
    )
    if settings.iam is not None:
        spec["node_auth"]["renew"] = LOGIN_LASTS / 2
    if settings.tls is not None:
        spec["tls"] = settings.tls.spec()
    if settings.node_tls is not None:
        spec["node_tls"] = settings.node_tls.spec()
    if (rules := settings.inbound.spec()) is not None:
        spec["inbound"] = rules
    if (access := access_spec(settings.users)) is not None:
        spec["access"] = access
    hot = config.hot_keys
    spec["hot_keys"] = HotSpec(sample=hot.sample, keys=hot.keys) if hot.enabled else HotSpec(sample=0, keys=0)
    slow = config.slow_log
    if slow.threshold is not None:
        spec["slow_log"] = SlowLogSpec(threshold=slow.threshold, entries=slow.entries, values=slow.values)
    if config.caching is not None:
        spec["caching"] = _caching(config.caching)
    if isinstance(config, RedisCluster):
        spec["max_staleness"] = config.reads.max_staleness
        spec["wait_timeout"] = config.writes.timeout
        spec["pubsub"] = config.pubsub.value
        spec["timeouts"]["slow"] = config.failover.busy_limit
        spec["strict"] = config.is_strict
        if isinstance(config.decider, FromRedisCluster):
            spec["clustered"] = True
        spec["databases"] = config.databases or DATABASES
        if (near := config.near_cache) is not None:
            spec["near_cache"] = NearSpec(memory=near.memory, match=list(near.match))
    if isinstance(config, MemcachedCluster):
        spec["memcached"] = memcached_spec(config, discovery)
        spec["shards"] += [_spare(node.node()) for node in config.on_failure.gutter]
    return spec


def _endpoint(
    kind: EndpointKind, endpoint: Endpoint, speaks_tls: bool, inbound: InboundSettings
) -> EndpointSpec:
    spec = EndpointSpec(kind=kind.value, addresses=[str(address) for address in endpoint.addresses])
    if speaks_tls:
        spec["tls"] = True
    if (balancers := inbound.balancers_of(endpoint)) is not None:
        spec["proxy_protocol"] = balancers
    return spec


def spec_encode(spec: ClusterSpec) -> bytes:
    return json.dumps(spec, separators=(",", ":")).encode()


def _hashing(config: Cluster) -> HashMethod:
    return config.hashing.method if isinstance(config, MemcachedCluster) else HashMethod.SLOTS


def _families(config: Cluster) -> list[FamilySpec]:
    rules = config.families if isinstance(config, RedisCluster) else ()
    return [FamilySpec(match=rule.match, hash=rule.hash) for rule in rules]


def _caching(caching: Caching) -> CachingSpec:
    return CachingSpec(
        rules=[
            CachingRuleSpec(match=rule.match, loads=rule.loads, writes=rule.writes, checks=rule.checks)
            for rule in caching.rules
        ]
    )


def _commands(config: Cluster) -> CommandsSpec:
    commands = config.commands if isinstance(config, RedisCluster) else Commands()
    return CommandsSpec(deny=list(commands.deny), allow=list(commands.allow), rename=dict(commands.rename))


def shard_spec(
    shard: Shard, readable: frozenset[Address] | None, terms: ShardTerms, wait: int = 0
) -> ShardSpec:
    """Describe one shard; `wait` is what its cluster has where the terms say nothing."""
    first = shard.nodes[0] if shard.nodes else None
    spec = ShardSpec(
        name=first.name if first else None,
        slots=[(slots.first, slots.last) for slots in shard.slots],
        primary=0 if shard.primary else None,  # `Shard.nodes` has the primary first
        nodes=[_node(node, readable) for node in shard.nodes],
        weight=first.weight if first else 1,
        number=shard.number,
    )
    if terms.label is not None:
        spec["label"] = terms.label
    if shard.primary is not None and terms.run_id is not None:
        spec["identity"] = IdentitySpec(run_id=terms.run_id)
    if wait := wait if terms.wait is None else terms.wait:
        spec["wait"] = wait
        spec["voters"] = None if terms.voters is None else sorted(map(str, terms.voters))
    if terms.seal is not None:
        spec["seal"] = terms.seal
    if terms.is_replaceable:
        spec["replaceable"] = True
    if shard.why_not is not None:
        spec["why_not"] = shard.why_not
    if shard.is_refused:
        spec["refused"] = True
    if terms.read_only is not None:
        spec["read_only"] = terms.read_only
    if terms.hold is not None:
        held = [(slots.first, slots.last) for slots in terms.hold.slots]
        spec["hold"] = HoldSpec(slots=held, only_writes=terms.hold.only_writes)
    if terms.is_mixed:
        spec["mixed"] = True
    if terms.limits is not None:
        spec["max_bulk"], spec["max_query"] = terms.limits.bulk, terms.limits.query
    return spec


def _spare(node: Node) -> ShardSpec:
    return ShardSpec(name=node.name, slots=[], primary=0, nodes=[_node(node)], weight=node.weight)


def _node(node: Node, readable: frozenset[Address] | None = None) -> NodeSpec:
    spec = NodeSpec(address=str(node.address), zone=node.zone)
    if readable is not None and node.address not in readable:
        spec["readable"] = False  # what is left out may be read from; a primary is whatever this says
    return spec
