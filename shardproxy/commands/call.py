"""One offloaded command as a handler sees it, and the errors it may answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from shardproxy.commands.scripts import Scripts
from shardproxy.commands.table import Table
from shardproxy.config import ConfigurationEndpoint
from shardproxy.dataplane import Offload
from shardproxy.dataplane.statistics import Statistics
from shardproxy.model import EndpointKind, Topology
from shardproxy.nodes import NodeLinks
from shardproxy.wire.reply import Reply


class CommandError(Exception):
    """An error reply: its text, without the `-`."""


class Facade(Protocol):
    """The part of the data plane that handlers and the service use."""

    def answer(self, token: int, reply: bytes) -> None: ...

    def retry(self, token: int) -> None: ...

    def learn(self, table: bytes) -> None: ...

    def slot(self, cluster: str, key: bytes) -> int: ...

    def statistics(self) -> Statistics: ...

    async def clients(self) -> Sequence[Mapping[str, Any]]: ...

    async def kill(self, client_ids: Sequence[int]) -> int: ...

    def subscriptions(self, cluster: str) -> list[tuple[str, bytes, int]]: ...

    def pause(self, cluster: str, seconds: float, *, only_writes: bool) -> None: ...

    async def unblock(self, client_id: int, *, with_error: bool) -> bool: ...


@dataclass(frozen=True, slots=True)
class Call:
    """A command to answer, and what there is to answer it with."""

    offload: Offload
    topology: Topology
    table: Table
    configuration: ConfigurationEndpoint | None  # as the cluster's config has it
    dataplane: Facade
    nodes: NodeLinks
    scripts: Scripts

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
    def plays_cluster(self) -> bool:
        """Whether this endpoint plays a Redis Cluster."""
        return self.offload.endpoint is EndpointKind.CONFIGURATION

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
