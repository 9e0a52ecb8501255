"""One offloaded command as a handler sees it, and the errors it may answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from shardproxy.access.log import AclLogs
from shardproxy.access.verifiers import Verifiers
from shardproxy.commands.counters import Counters
from shardproxy.commands.errands import Errands
from shardproxy.commands.followers import Followers
from shardproxy.commands.known_scripts import KnownScripts
from shardproxy.commands.shares import Shares
from shardproxy.commands.sources import Sources
from shardproxy.commands.table import Table
from shardproxy.config import Commands, ConfigurationEndpoint
from shardproxy.config.clusters import DATABASES
from shardproxy.dataplane import Offloaded
from shardproxy.dataplane.statistics import ClusterCounts
from shardproxy.dataplane.timings import TimedRequest
from shardproxy.dataplane.users import ANYBODY, ProxyUser
from shardproxy.model import Address, EndpointKind, SlotRange, Topology
from shardproxy.model.replication import ShardKey
from shardproxy.nodes import NodeLinks
from shardproxy.topology.fleet import Peers
from shardproxy.topology.user_changes import Edit
from shardproxy.topology.users import UserChangeError
from shardproxy.wire.reply import Reply


class CommandError(Exception):
    """An error reply: its text, without the `-`."""


class Facade(Protocol):
    """The part of the data plane that handlers and the service use."""

    def answer(self, token: int, reply: bytes) -> None: ...

    def retry(self, token: int) -> None: ...

    def learn(self, table: bytes) -> None: ...

    def slot(self, cluster: str, key: bytes) -> int: ...

    async def owned(self, cluster: str, slots: Sequence[SlotRange], keys: Sequence[bytes]) -> list[bytes]: ...

    def counts(self, cluster: str | None = None) -> Mapping[str, ClusterCounts]: ...

    async def clients(self, client_ids: Iterable[int] | None = None) -> Sequence[Mapping[str, Any]]: ...

    async def kill(self, client_ids: Sequence[int]) -> int: ...

    async def topics(self, cluster: str, kind: str, pattern: bytes | None = None) -> bytes: ...

    async def subscribers(self, cluster: str, kind: str, names: Iterable[bytes]) -> list[int]: ...

    async def glob_filter(
        self, pattern: bytes, words: Iterable[bytes], *, ignores_case: bool
    ) -> list[bytes]: ...

    def pause(
        self, cluster: str, seconds: float, *, only_writes: bool, functions: Mapping[bytes, bool]
    ) -> None: ...

    def script(self, cluster: str, digest: bytes) -> bytes | None: ...

    def topic_counts(self, cluster: str) -> tuple[int, int, int]: ...

    async def unblock(self, client_id: int, *, with_error: bool) -> bool: ...

    async def slow_log(self, cluster: str, most: int) -> Sequence[TimedRequest]: ...

    def slow_log_len(self, cluster: str) -> int: ...

    def slow_log_reset(self, cluster: str) -> None: ...


class UserDesk(Protocol):
    """The users of all clusters, as clients may look at them and change them."""

    def users(self, cluster: str) -> tuple[ProxyUser, ...]: ...

    async def change(self, cluster: str, edit: Edit, by: str) -> None:
        """Have users changed, served and kept; raise UserChangeError, and then nothing has changed."""

    async def load(self, cluster: str, by: str) -> None:
        """Read the cluster's file of users again; raise UserChangeError."""

    async def save(self, cluster: str, by: str) -> None:
        """Write changes into the cluster's file of users; raise UserChangeError."""


class EverybodyDesk:
    """Where nobody keeps users: everybody is the default one."""

    def users(self, cluster: str) -> tuple[ProxyUser, ...]:
        return (ANYBODY,)

    async def change(self, cluster: str, edit: Edit, by: str) -> None:
        raise UserChangeError("users are not kept")

    async def load(self, cluster: str, by: str) -> None:
        raise UserChangeError("users are not kept")

    async def save(self, cluster: str, by: str) -> None:
        raise UserChangeError("users are not kept")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a cluster's config says that handlers go by."""

    configuration: ConfigurationEndpoint | None = None
    primary: Address | None = None  # of the endpoint for writes, where there is one
    commands: Commands = field(default_factory=Commands)
    clients: int = 0  # that may be connected; 0 = as many as want to
    park: float = 3.0  # seconds to wait for a shard without a primary
    slow: float = 10.0  # seconds for the reply to what may take long, where nothing shorter is said
    is_strict: bool = False  # one shard is what several are
    databases: int = DATABASES  # of one shard that is not
    peers: Callable[[], Peers] = tuple  # the proxies that serve the cluster, this one among them
    tls_ports: frozenset[int] = frozenset()  # where clients of the configuration endpoint speak TLS


@dataclass(frozen=True, slots=True)
class Call:
    """A command to answer, and what there is to answer it with."""

    offload: Offloaded
    topology: Topology
    table: Table
    settings: Settings
    readable: Mapping[
        ShardKey, frozenset[Address]
    ]  # replicas fit to be read from, of shards that are watched
    dataplane: Facade
    nodes: NodeLinks
    scripts: KnownScripts
    libraries: Sources  # of functions, by name
    counters: Counters
    followers: Followers
    errands: Errands
    shares: Shares
    topologies: Mapping[str, Topology]  # as they are by now
    users: UserDesk
    refusals: AclLogs
    verifiers: Verifiers | None = None  # of logins that are no matter of a password

    @property
    def args(self) -> tuple[bytes, ...]:
        return self.offload.args

    @property
    def resp(self) -> int:
        return self.offload.resp

    @property
    def db(self) -> int:
        return self.offload.db

    @property
    def user(self) -> str:
        """As whom the client is logged in."""
        return self.offload.user

    @property
    def plays_cluster(self) -> bool:
        """Whether this endpoint plays a Redis Cluster."""
        return self.offload.endpoint == EndpointKind.CONFIGURATION.value

    @property
    def is_relaxed(self) -> bool:
        """Whether the cluster is one Redis to its clients: its only shard does all that one does."""
        return len(self.topology.shards) == 1 and not self.settings.is_strict

    @property
    def databases(self) -> int:
        """How many databases clients may select."""
        return self.settings.databases if self.is_relaxed else 1

    @property
    def is_reader(self) -> bool:
        """Whether this endpoint only reads, from replicas."""
        return self.offload.endpoint == EndpointKind.READER.value

    def count(self) -> ClusterCounts | None:
        """Have the data plane add up what all workers have counted of the cluster."""
        return self.dataplane.counts(self.topology.cluster).get(self.topology.cluster)

    def slot_of(self, key: bytes) -> int:
        """The slot of a key, as the data plane routes it."""
        return self.dataplane.slot(self.offload.cluster, key)


# A plain function is answered at once, in the order of arrival; a coroutine in a task of its own.
Handler: TypeAlias = Callable[[Call], Reply] | Callable[[Call], Awaitable[Reply]]

SYNTAX_ERROR = "ERR syntax error"
NOT_AN_INTEGER = "ERR value is not an integer or out of range"


def integer(word: bytes, error: str = NOT_AN_INTEGER) -> int:
    """The signed 64-bit number a word is, written as Redis accepts it; raise CommandError otherwise."""
    digits = word.removeprefix(b"-")
    plain = digits.isdigit() and (digits == b"0" or not digits.startswith(b"0")) and word != b"-0"
    value = int(word) if plain and len(word) <= 20 else None
    if value is None or not -(1 << 63) <= value < 1 << 63:
        raise CommandError(error)
    return value


def text(word: bytes) -> str:
    """A word of a request to be put into a reply: every byte comes out as it went in."""
    return word.decode("utf-8", "surrogateescape")
