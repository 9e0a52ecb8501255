"""The data plane, as the rest of the control plane sees it: typed values both ways.

Owns the native worker threads and the file descriptor that wakes trio. Decides nothing.
"""

from __future__ import annotations

import contextlib
import enum
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

import structlog
import trio

from shardproxy.dataplane.spec import ClusterSpec, spec_encode
from shardproxy.dataplane.statistics import Statistics
from shardproxy.model import Address, EndpointKind
from shardproxy.model.board import Board
from shardproxy.model.health import NodeDown, PoolKey

if TYPE_CHECKING:
    from shardproxy.dataplane import _native

__all__ = ["Abandoned", "BoundEndpoint", "DataPlane", "Hint", "HintKind", "Offload"]

log = structlog.get_logger()

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

ASKING = 8  # questions to all workers at once, each in a thread
MAX_HINTS = 256  # not taken yet; more say nothing new


@dataclass(frozen=True, slots=True)
class Offload:
    """A command the data plane hands over; `DataPlane.answer` or `retry` must follow with its token."""

    token: int
    cluster: str
    endpoint: EndpointKind
    client_id: int
    resp: int
    db: int
    local_address: str
    known: bool
    args: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The client of an offloaded command has gone; nobody waits for the answer to that token."""

    token: int


class HintKind(enum.Enum):
    LOST = "lost"  # or it could not be reached
    STRANGER = "stranger"  # another than the primary that the topology names: it gets nothing


@dataclass(frozen=True, slots=True)
class Hint:
    """What a worker found of a node: it says where to look, not what to think."""

    cluster: str
    address: Address
    kind: HintKind
    why: str


@dataclass(frozen=True, slots=True)
class BoundEndpoint:
    """An address as configured, and as it is listened on (they differ for port 0)."""

    configured: Address
    bound: Address


class DataPlane:
    """Worker threads that serve every ordinary request."""

    def __init__(self, native: _native.DataPlane) -> None:
        self._native = native
        self._offloads = _Offloads(native)
        self._stopped = False
        self._slow = trio.CapacityLimiter(1)
        # nobody else's threads hold these up: neither names that do not resolve nor a slow disk
        self._applying = trio.CapacityLimiter(1)
        self._asking = trio.CapacityLimiter(ASKING)

    @classmethod
    def start(cls, *, workers: int, table: bytes, buffers: int = 0) -> DataPlane:
        """Start the worker threads with a command table (JSON) and a cap on all buffers (bytes, 0 = none)."""
        from shardproxy.dataplane import _native

        return cls(_native.DataPlane(workers, table, buffers))

    async def apply(self, spec: ClusterSpec) -> tuple[BoundEndpoint, ...]:
        """Make one cluster be as its spec says; raise ValueError or OSError, and then nothing has changed."""
        bound = await trio.to_thread.run_sync(self._native.apply, spec_encode(spec), limiter=self._applying)
        self._offloads.forget_strangers(spec["name"])
        return tuple(BoundEndpoint(Address.parse(asked), Address.parse(got)) for asked, got in bound)

    def remove(self, cluster: str) -> None:
        """Stop serving a cluster; its clients are closed."""
        self._native.remove(cluster)

    def learn(self, table: bytes) -> None:
        """Replace the command table (JSON)."""
        self._native.learn(table)

    def slot(self, cluster: str, key: bytes) -> int:
        """Find the slot of a key, by the cluster's key families; raise KeyError when it is not served."""
        return self._native.slot(cluster, key)

    def offloads(self) -> AsyncIterator[Offload | Abandoned]:
        """Iterate over offloaded commands until the data plane is stopped. One reader only.

        An `Abandoned` comes after its offload, unless that was answered before.
        """
        return self._offloads

    def answer(self, token: int, reply: bytes) -> None:
        """Reply to an offloaded command; a client that has gone is ignored."""
        if not self._stopped:
            self._native.answer(token, reply)

    def retry(self, token: int) -> None:
        """Route an offloaded command again, by the present table."""
        if not self._stopped:
            self._native.retry(token)

    def statistics(self) -> Statistics:
        """Counters of all workers since their start."""
        return Statistics.read(self._native.statistics())

    async def clients(self, client_id: int | None = None) -> tuple[Mapping[str, Any], ...]:
        """Every connected client, or that one, each with what CLIENT LIST shows; takes up to 1 s."""
        return tuple(await trio.to_thread.run_sync(self._native.clients, client_id, limiter=self._asking))

    async def kill(self, client_ids: Iterable[int]) -> int:
        """Close these clients; return how many there were."""
        return await trio.to_thread.run_sync(self._native.kill, list(client_ids), limiter=self._asking)

    async def topics(self, cluster: str, kind: str, pattern: bytes | None = None) -> bytes:
        """What the cluster's clients are subscribed to and the pattern matches: an encoded array of names.

        The kind is channel, pattern or shard. Raise OverflowError when matching would take too long.
        """
        return await self._one_at_a_time(self._native.topics, cluster, kind, pattern)

    async def subscribers(self, cluster: str, kind: str, names: Iterable[bytes]) -> list[int]:
        """How many clients of the cluster are subscribed to each of these."""
        return await self._one_at_a_time(self._native.subscribers, cluster, kind, list(names))

    async def glob_filter(self, pattern: bytes, words: Iterable[bytes], *, ignores_case: bool) -> list[bytes]:
        """The words a glob pattern matches; raise OverflowError when it would take too long."""
        from shardproxy.dataplane import _native

        return await self._one_at_a_time(_native.glob_filter, pattern, list(words), ignores_case)

    async def _one_at_a_time(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """Do what may take seconds in a thread, and only one such thing at once: workers need the cores."""
        return await trio.to_thread.run_sync(work, *args, limiter=self._slow)

    @property
    def hints(self) -> trio.MemoryReceiveChannel[Address]:
        """Nodes that workers just lost or could not reach; filled while `offloads` is read, not with all."""
        return self._offloads.hints

    @property
    def down(self) -> Board[PoolKey, NodeDown]:
        """memcached nodes that are down for some worker; kept while `offloads` is read."""
        return self._offloads.down

    def pause(self, cluster: str, seconds: float, *, only_writes: bool) -> None:
        """Hold requests of a cluster's clients, or only writes, for so many seconds; 0 ends it."""
        self._native.pause(cluster, seconds, only_writes)

    async def unblock(self, client_id: int, *, with_error: bool) -> bool:
        """End a client's wait for a blocking command, in a thread; whether it was waiting."""
        return await trio.to_thread.run_sync(
            self._native.unblock, client_id, with_error, limiter=self._asking
        )

    def limit_clients(self, most: int) -> None:
        """Refuse clients beyond so many of all clusters together; 0 = no limit."""
        self._native.limit_clients(most)

    def drain(self) -> None:
        """Stop listening; each client is closed once its replies are out."""
        self._native.drain()

    def stop(self) -> None:
        """Close everything and end the threads. Idempotent."""
        if self._stopped:
            return
        self._stopped = True
        self._offloads.end()
        self._native.stop()


class _Offloads(AsyncIterator[Offload | Abandoned]):
    """Offloaded commands as they come. A class, as a generator would have to be closed by its reader."""

    def __init__(self, native: _native.DataPlane) -> None:
        self._native = native
        self._waiting: deque[Offload | Abandoned] = deque()
        self._ended = False
        self._hint, self.hints = trio.open_memory_channel[Address](MAX_HINTS)
        self.down: Board[PoolKey, NodeDown] = Board()
        self._strangers: dict[PoolKey, str] = {}  # that the log knows, and why they are

    async def __anext__(self) -> Offload | Abandoned:
        await trio.lowlevel.checkpoint()
        while not self._waiting:
            if self._ended:
                raise StopAsyncIteration
            self._waiting.extend(_offload(values) for values in self._native.take())
            self._pass_hints()
            self._show_down()
            if not self._waiting:
                await self._wait_readable()
        return self._waiting.popleft()

    def _pass_hints(self) -> None:
        for cluster, address, kind, why in self._native.hints():
            hint = Hint(cluster, Address.parse(address), HintKind(kind), why)
            self._tell_stranger(hint)
            with contextlib.suppress(trio.WouldBlock, trio.BrokenResourceError):  # they only save time
                self._hint.send_nowait(hint.address)

    def _tell_stranger(self, hint: Hint) -> None:
        key = (hint.cluster, hint.address)
        if hint.kind is HintKind.STRANGER and self._strangers.get(key) != hint.why:
            self._strangers[key] = hint.why
            log.warning("node is a stranger", cluster=hint.cluster, node=str(hint.address), why=hint.why)

    def forget_strangers(self, cluster: str) -> None:
        """Who a primary is has been told anew."""
        for key in [key for key in self._strangers if key[0] == cluster]:
            del self._strangers[key]

    def _show_down(self) -> None:
        told = self._native.down()
        if told is None:
            return
        now = {(cluster, Address.parse(address)): why for cluster, address, why in told}
        for key in [key for key in self.down if key not in now]:
            self.down.hide(key)
        for key in [key for key in now if key not in self.down]:
            self.down.show(key, NodeDown(now[key], trio.current_time()))

    async def _wait_readable(self) -> None:
        try:
            await trio.lowlevel.wait_readable(self._native.fileno())
        except trio.ClosedResourceError:  # stopped meanwhile
            self._ended = True

    def end(self) -> None:
        """Wake the reader for the last time; the descriptor is about to be closed."""
        self._ended = True
        trio.lowlevel.notify_closing(self._native.fileno())


def _offload(
    values: tuple[int, str, str, int, int, int, str, bool, list[bytes]],
) -> Offload | Abandoned:
    token, cluster, endpoint, client_id, resp, db, local_address, known, args = values
    if not args:
        return Abandoned(token)
    return Offload(
        token, cluster, EndpointKind(endpoint), client_id, resp, db, local_address, known, tuple(args)
    )
