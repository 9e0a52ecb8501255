"""The data plane, as the rest of the control plane sees it: typed values both ways.

Owns the native worker threads and the file descriptor that wakes trio. Decides nothing.
"""

from __future__ import annotations

import itertools
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, TypeVarTuple

import trio

from shardproxy.dataplane import _native
from shardproxy.dataplane._native import Abandoned, AccessEvent, CacheAged, ClientDid, Offloaded
from shardproxy.dataplane.events import Event, Events
from shardproxy.dataplane.hot import BigKey, Hot, big_read
from shardproxy.dataplane.spec import ClusterSpec, spec_encode
from shardproxy.dataplane.statistics import ClusterCounts, Statistics, WorkerStatistics
from shardproxy.dataplane.timings import TimedRequest, Tracing
from shardproxy.model import Address, SlotRange
from shardproxy.model.board import Board
from shardproxy.model.health import Busy, NodeDown, PoolKey, Standing

__all__ = [
    "Abandoned",
    "AccessEvent",
    "BoundEndpoint",
    "CacheAged",
    "ClientDid",
    "DataPlane",
    "Event",
    "Offloaded",
]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

ASKING = 8  # questions to all workers at once, each in a thread


@dataclass(frozen=True, slots=True)
class BoundEndpoint:
    """An address as configured, and as it is listened on (they differ for port 0)."""

    configured: Address
    bound: Address


class DataPlane:
    """Worker threads that serve every ordinary request."""

    def __init__(self, native: _native.DataPlane, table: bytes = b"") -> None:
        self._native = native
        self.table = table  # of commands (JSON), as it is used now
        self._events = Events(native)
        self._stopped = False
        self._slow = trio.CapacityLimiter(1)
        # nobody else's threads hold these up: neither names that do not resolve nor a slow disk
        self._applying = trio.CapacityLimiter(1)
        self._asking = trio.CapacityLimiter(ASKING)
        self._settling = trio.CapacityLimiter(ASKING)

    @classmethod
    def start(cls, *, workers: int, table: bytes, buffers: int = 0) -> DataPlane:
        """Start the worker threads with a command table (JSON) and a cap on all buffers (bytes, 0 = none)."""
        return cls(_native.DataPlane(workers, table, buffers), table)

    async def apply(self, spec: ClusterSpec) -> tuple[BoundEndpoint, ...]:
        """Make one cluster be as its spec says; raise ValueError or OSError, and then nothing has changed."""
        endpoints, _ = await self.apply_settled(spec, None)
        return endpoints

    async def apply_settled(
        self, spec: ClusterSpec, within: float | None
    ) -> tuple[tuple[BoundEndpoint, ...], bool]:
        """As `apply`, and then as `settle`, in one thread's one turn; None: without that, and False."""

        def apply() -> tuple[list[tuple[str, str]], bool]:
            bound = self._native.apply(spec_encode(spec))
            return bound, within is not None and self._native.settle(spec["name"], within)

        bound, is_settled = await trio.to_thread.run_sync(apply, limiter=self._applying)
        self._events.forget_strangers(spec["name"])
        endpoints = tuple(BoundEndpoint(Address.parse(asked), Address.parse(got)) for asked, got in bound)
        return endpoints, is_settled

    def remove(self, cluster: str) -> None:
        """Stop serving a cluster; its clients are closed."""
        self._native.remove(cluster)

    def lease(self, cluster: str, deadline: float | None) -> None:
        """Serve the cluster's primaries, as applied, until then (CLOCK_BOOTTIME, seconds); None: for ever.

        Past it no reply of theirs acknowledges anything: reads are retried and writes in doubt, as when the
        connections are lost, and what comes waits for its shard. Only a later deadline, or None, ends that:
        set it once what is applied is known to be true again.
        """
        self._native.lease(cluster, deadline)

    def learn(self, table: bytes) -> None:
        """Replace the command table (JSON)."""
        self._native.learn(table)
        self.table = table

    def slot(self, cluster: str, key: bytes) -> int:
        """Find the slot of a key, by the cluster's key families; raise KeyError when it is not served."""
        return self._native.slot(cluster, key)

    def node(self, cluster: str, key: bytes) -> Address | None:
        """Find the node that requests for a key go to now, None where all it may go to are down; KeyError."""
        found = self._native.node(cluster, key)
        return Address.parse(found) if found is not None else None

    async def owned(self, cluster: str, slots: Sequence[SlotRange], keys: Sequence[bytes]) -> list[bytes]:
        """Those of these keys that are in one of these slots; raise KeyError of an unknown cluster."""
        ranges = [(each.first, each.last) for each in slots]
        found = await self._one_at_a_time(self._native.are_in, cluster, ranges, list(keys))
        return list(itertools.compress(keys, found))

    def events(self) -> AsyncIterator[Event]:
        """Iterate over what clients want and do until the data plane is stopped. One reader only.

        An `Abandoned` comes after its `Offloaded`, unless that was answered before.
        """
        return self._events

    def answer(self, token: int, reply: bytes) -> None:
        """Reply to an offloaded command; a client that has gone is ignored."""
        if not self._stopped:
            self._native.answer(token, reply)

    def retry(self, token: int) -> None:
        """Route an offloaded command again, by the present table."""
        if not self._stopped:
            self._native.retry(token)

    def pass_on(self, token: int, absent: Sequence[bytes] | None = None) -> None:
        """Execute an offloaded command with a rule as if no rule were about it, at the primary.

        Its client hears what the engine answers. A write cancels the leases of its keys first. With `absent`,
        keys that have no value, a read that finds nothing of other keys is offloaded again, its `looks` one
        more.
        """
        if not self._stopped:
            self._native.pass_on(token, absent)

    def fresh(self, cluster: str, key: bytes, seconds: float) -> None:
        """Ask how old this key is in so many seconds and not before: no `CacheAged` comes until then."""
        if not self._stopped:
            self._native.fresh(cluster, key, seconds)

    @staticmethod
    def tag(slot: int) -> bytes:
        """A hash tag that lies in that slot: reserved names are made with it."""
        return _native.DataPlane.tag(slot)

    def statistics(self) -> Statistics:
        """Counters of all workers since their start; may be called in a thread.

        At hundreds of shards this takes milliseconds: who asks often asks `workers` or `counts`.
        """
        return Statistics.read(self._native.statistics())

    def workers(self) -> tuple[WorkerStatistics, ...]:
        """The worker threads, by their numbers."""
        return tuple(map(WorkerStatistics.read, self._native.workers()))

    def client_count(self) -> int:
        """How many clients are connected."""
        return sum(worker.clients for worker in self.workers())

    def counts(self, cluster: str | None = None) -> Mapping[str, ClusterCounts]:
        """Counters of that cluster, by its name, or of all; nothing of one that was never served."""
        return {name: ClusterCounts.read(of) for name, of in self._native.counts(cluster).items()}

    async def hot(self, cluster: str) -> Hot:
        """What is asked for now in a cluster, and by which keys; nothing where it is not served.

        Of all workers that answer within 1 s; in a thread.
        """
        try:
            return Hot.read(await trio.to_thread.run_sync(self._native.hot, cluster, limiter=self._asking))
        except KeyError:
            return Hot()

    async def big(self, cluster: str) -> tuple[BigKey, ...]:
        """The keys that the largest requests and replies of the last hour were about, likewise."""
        try:
            return big_read(await trio.to_thread.run_sync(self._native.big, cluster, limiter=self._asking))
        except KeyError:
            return ()

    def standing(self, cluster: str, node: Address) -> Standing:
        """What a node owes the workers that may take long, and when it last sent them anything."""
        found = self._native.standing(cluster, str(node))
        now, heard = trio.current_time(), found["heard"]
        busy = Busy(found["command"], now - found["age"], client_text(found)) if "command" in found else None
        return Standing(busy, None if heard is None else now - heard)

    def spare(self, cluster: str, node: Address, seconds: float) -> None:
        """A node is only busy: give no connection to it up for its silence for so long."""
        self._native.spare(cluster, str(node), seconds)

    def expect_slow(self, cluster: str, commands: Iterable[str]) -> None:
        """These commands took long lately; no others did. Names the table does not have are passed over."""
        self._native.expect_slow(cluster, sorted(commands))

    async def slow_log(self, cluster: str, most: int) -> tuple[TimedRequest, ...]:
        """So many requests that took long, the newest first, of all workers; in a thread.

        Raise KeyError of an unknown cluster.
        """

        def read() -> tuple[TimedRequest, ...]:
            return tuple(map(TimedRequest.read, self._native.slow_log(cluster, most)))

        return await trio.to_thread.run_sync(read, limiter=self._asking)

    def slow_log_len(self, cluster: str) -> int:
        """How many are kept; raise KeyError of an unknown cluster."""
        return self._native.slow_log_len(cluster)

    def slow_log_reset(self, cluster: str) -> None:
        """Forget the requests that took long."""
        self._native.slow_log_reset(cluster)

    def trace(self, cluster: str, pattern: bytes, limit: int) -> Tracing:
        """Note so many requests about a key that the glob matches, `*`: all, as long as this is referred to.

        Raise KeyError of an unknown cluster, RuntimeError when there are too many traces.
        """
        return Tracing(self._native.trace(cluster, pattern, limit))

    def sample(self, share: float, queue: int) -> None:
        """Note this share of all requests, 0-1, and let so many wait for `spans`."""
        self._native.sample(share, queue)

    def spans(self, most: int) -> tuple[tuple[TimedRequest, ...], int]:
        """Up to so many of the requests sampled, the oldest first; and how many found no room so far."""
        found, dropped = self._native.spans(most)
        return tuple(map(TimedRequest.read, found)), dropped

    async def clients(self, client_ids: Iterable[int] | None = None) -> tuple[Mapping[str, Any], ...]:
        """Every connected client, or these, each as CLIENT LIST shows it, by their ids; takes up to 1 s."""
        ids = None if client_ids is None else list(client_ids)
        return tuple(await trio.to_thread.run_sync(self._native.clients, ids, limiter=self._asking))

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
        return await self._one_at_a_time(_native.glob_filter, pattern, list(words), ignores_case)

    async def _one_at_a_time(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """Do what may take seconds in a thread, and only one such thing at once: workers need the cores."""
        return await trio.to_thread.run_sync(work, *args, limiter=self._slow)

    @property
    def hints(self) -> trio.MemoryReceiveChannel[Address]:
        """Nodes that workers just lost or could not reach; filled while `events` is read, not with all."""
        return self._events.hints

    @property
    def access_events(self) -> trio.MemoryReceiveChannel[AccessEvent]:
        """Who came in and who was kept out; filled while `events` is read. One reader only."""
        return self._events.accesses

    @property
    def accesses_lost(self) -> int:
        """How many of these nobody was told of, as too many waited."""
        return self._events.accesses_lost + self._native.access_untold()

    @property
    def down(self) -> Board[PoolKey, NodeDown]:
        """memcached nodes that are down for some worker; kept while `events` is read."""
        return self._events.down

    async def settle(self, cluster: str, within: float) -> bool:
        """Wait, in a thread, until nothing is under way any more that the cluster holds as applied.

        Whether that is so within so many seconds; at once where nothing is held. What comes later waits.
        """
        return await trio.to_thread.run_sync(self._native.settle, cluster, within, limiter=self._settling)

    def pause(
        self, cluster: str, seconds: float, *, only_writes: bool, functions: Mapping[bytes, bool]
    ) -> None:
        """Hold requests of a cluster's clients, or only writes, for so many seconds; 0 ends it.

        A pause that lasts gets no shorter. `functions`: whether those that there are say that they only read.
        """
        self._native.pause(cluster, seconds, only_writes, list(functions.items()))

    def script(self, cluster: str, digest: bytes) -> bytes | None:
        """The script of that digest, if a client of the cluster has loaded it or run it not too long ago."""
        return self._native.script(cluster, digest)

    def topic_counts(self, cluster: str) -> tuple[int, int, int]:
        """How many channels, patterns and shard channels the cluster's clients are subscribed to."""
        return self._native.topic_counts(cluster)

    async def unblock(self, client_id: int, *, with_error: bool) -> bool:
        """End a client's wait for a blocking command, in a thread; whether it was waiting."""
        return await trio.to_thread.run_sync(
            self._native.unblock, client_id, with_error, limiter=self._asking
        )

    def limit(self, *, clients: int, dedicated: int) -> None:
        """Refuse clients beyond so many of all clusters together; 0 = no limit.

        Who needs a connection of its own beyond so many waits for one.
        """
        self._native.limit(clients, dedicated)

    def drain(self, grace: float = 0.0) -> None:
        """Stop listening; each client is closed once it has been answered.

        One that is idle may be about to send something, and would hear of no answer: it is closed when it was
        answered, or after `grace` seconds.
        """
        self._native.drain(grace)

    def inherit(self, address: str, listener: socket.socket, *, is_kept: bool = False) -> None:
        """Use a copy of a socket that listens for the endpoint with that address, as configured."""
        self._native.inherit(address, listener.fileno(), is_kept)

    def sockets(self) -> list[tuple[str, socket.socket]]:
        """A copy of each socket that listens, by the address of its endpoint."""
        return [(address, socket.socket(fileno=number)) for address, number in self._native.sockets()]

    def pass_to(self, heir: socket.socket) -> None:
        """Leave endpoints, and clients as soon as nothing is owed to them, to another process.

        It has the sockets that listen, and gets clients through a copy of `heir`. Who waits, listens or
        speaks TLS stays until `drain`.
        """
        self._native.pass_to(heir.fileno())

    def take_over(self, before: socket.socket) -> None:
        """Serve the clients that another process passes through a copy of this socket."""
        self._native.take_over(before.fileno())

    def stop(self) -> None:
        """Close everything and end the threads. Idempotent."""
        if self._stopped:
            return
        self._stopped = True
        self._events.end()
        self._native.stop()


def client_text(client: Mapping[str, Any]) -> str:
    """Whose a request is, in words."""
    if not client["client_id"]:
        return "a client that has gone"
    name = client["name"].decode("utf-8", "backslashreplace")
    return f"client {client['address']} (id {client['client_id']}{f', name {name}' if name else ''})"
