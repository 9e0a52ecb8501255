"""How far the replicas of a shard are: asked once for all clients that wait for them.

    WAIT ─┐                        ┌─ follower ─┬─ INFO ──> primary
    WAIT ─┼─ Waiting ─ Waiters ────┤            └─ WAIT ──> has it ask its replicas; on its own connection
    WAIT ─┘  a client  of a shard  └─ follower ── one per shard, while anyone waits

What a waiter waits for is the primary's offset as of the first question after it came. Knows no syntax.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias, cast

import structlog
import trio

from shardproxy.model import Address, Topology
from shardproxy.model.replication import ShardKey
from shardproxy.nodes import NodeError, NodeFailure, NodeLinks

INTERVALS = (0.005, 0.2)  # seconds between questions: the first, doubled up to the last
# who listens on no port only reads the stream: it has nothing that could be promoted
REPLICA = re.compile(rb"^slave\d+:ip=[^,]*,port=0*[1-9]\d*,.*state=online,offset=(\d+)", re.MULTILINE)
OFFSET = re.compile(rb"^role:master\b.*^master_repl_offset:(\d+)", re.MULTILINE | re.DOTALL)
CHANGED = "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"
UNBLOCKED = "UNBLOCKED client unblocked via CLIENT UNBLOCK"

log = structlog.get_logger()

Key: TypeAlias = tuple[ShardKey, Address]  # a shard, and the primary whose offsets are compared


@dataclass(eq=False, slots=True)
class Waiter:
    """One client, and one shard whose replicas it waits for."""

    waiting: Waiting
    wanted: int
    target: int | None = None  # the offset they are to reach; unknown before the first answer
    reached: int = 0
    looks: int = 0


@dataclass(eq=False, slots=True)
class Waiting:
    """One client in WAIT."""

    cluster: str
    client_id: int
    waiters: list[Waiter] = field(default_factory=list)
    error: str | None = None
    _missing: int = 0
    _ended: trio.Event = field(default_factory=trio.Event)

    async def wait_ended(self) -> None:
        """Until every shard has what is wanted, or somebody ends it."""
        if self._missing:
            await self._ended.wait()

    def reached(self) -> int:
        """The smallest number of replicas that a shard's writes have reached."""
        return min((waiter.reached for waiter in self.waiters), default=0)

    def add(self, wanted: int) -> Waiter:
        waiter = Waiter(self, wanted)
        self.waiters.append(waiter)
        self._missing += 1
        return waiter

    def arrived(self) -> None:
        self._missing -= 1
        if not self._missing:
            self._ended.set()

    def end(self, error: str | None = None) -> None:
        """End it now: as its timeout would, or with an error."""
        self.error = self.error or error
        self._ended.set()


class Followers:
    """Who waits, and the tasks that look for them."""

    def __init__(self, nursery: trio.Nursery, topologies: Mapping[str, Topology], nodes: NodeLinks) -> None:
        self._nursery = nursery
        self._topologies = topologies
        self._nodes = nodes
        self._followers: dict[Key, _Follower] = {}
        self._waiting: set[Waiting] = set()

    @contextmanager
    def waiting(self, topology: Topology, client_id: int, wanted: int) -> Iterator[Waiting]:
        """Have a client wait until so many replicas of every shard are as far as its primary is now."""
        waiting = Waiting(topology.cluster, client_id)
        joined: list[tuple[_Follower, Waiter]] = []
        self._waiting.add(waiting)
        try:
            for shard in topology.shards:
                waiter = waiting.add(wanted)
                if shard.primary is None:
                    waiting.end(f"ERR shard {shard.label}: it has no known primary")
                    break
                follower = self._follower((topology.key_of(shard), shard.primary.address), shard.label)
                follower.join(waiter)
                joined.append((follower, waiter))
            yield waiting
        finally:
            self._waiting.discard(waiting)
            for follower, waiter in joined:
                follower.leave(waiter)

    def unblock(self, cluster: str, client_id: int, *, with_error: bool) -> bool:
        """End a client's wait; whether it waited."""
        found = [w for w in self._waiting if w.cluster == cluster and w.client_id == client_id]
        for waiting in found:
            waiting.end(UNBLOCKED if with_error else None)
        return bool(found)

    def count(self, cluster: str) -> int:
        """How many of the cluster's clients wait."""
        return sum(waiting.cluster == cluster for waiting in self._waiting)

    def clients(self) -> set[int]:
        """The ids of all clients that wait."""
        return {waiting.client_id for waiting in self._waiting}

    def _follower(self, key: Key, label: str) -> _Follower:
        if key not in self._followers:
            follower = _Follower(label, key[1], self._nodes, lambda: self._is_current(key))
            self._followers[key] = follower
            self._nursery.start_soon(self._run, key, follower)
        return self._followers[key]

    async def _run(self, key: Key, follower: _Follower) -> None:
        try:
            while follower.is_needed:
                await follower.run()
        except Exception as e:  # a bug here must not end every client's commands
            log.exception("follower failed", shard=str(key[0]))
            follower.end_all(f"ERR WAIT failed in the proxy: {type(e).__name__}")
        finally:
            del self._followers[key]

    def _is_current(self, key: Key) -> bool:
        """Whether that node is the shard's primary in the present epoch: offsets of another mean nothing."""
        where, address = key
        topology = self._topologies.get(where.cluster)
        shard = topology.shard_numbered(where.index) if topology else None
        return shard is not None and shard.primary is not None and shard.primary.address == address


class _Follower:
    """One primary is asked, while anyone waits, how far its replicas are."""

    def __init__(
        self, shard: str, primary: Address, nodes: NodeLinks, is_current: Callable[[], bool]
    ) -> None:
        self._shard = shard
        self._primary = primary
        self._nodes = nodes
        self._is_current = is_current
        self._waiters: dict[Waiter, None] = {}
        self._joined = trio.Event()
        self._asked = trio.Event()  # set: the replicas are to be asked again

    @property
    def is_needed(self) -> bool:
        return bool(self._waiters)

    def join(self, waiter: Waiter) -> None:
        self._waiters[waiter] = None
        self._joined.set()

    def leave(self, waiter: Waiter) -> None:
        self._waiters.pop(waiter, None)

    def end_all(self, error: str) -> None:
        for waiter in self._waiters:
            waiter.waiting.end(error)
        self._waiters.clear()

    async def run(self) -> None:
        """Look until nobody waits: soon for who has just come, and ever more rarely."""
        first, last = INTERVALS
        interval = first
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._have_replicas_asked)
            while self._waiters:
                if not self._is_current():
                    self.end_all(CHANGED)
                    break
                self._joined = trio.Event()
                newcomers = [waiter for waiter in self._waiters if waiter.target is None]
                interval = first if newcomers else min(interval * 2, last)
                await self._look(newcomers)
                self._asked.set()
                await trio.sleep(first)
                with trio.move_on_after(interval - first):
                    await self._joined.wait()
            nursery.cancel_scope.cancel()

    async def _look(self, newcomers: list[Waiter]) -> None:
        try:
            info = cast("bytes", await self._nodes.request(self._primary, "INFO", "replication"))
            self._take(info, newcomers)
        except NodeFailure as e:
            self._fail(newcomers, f"ERR shard {self._shard}: {e}")
        except NodeError as e:
            self._fail(newcomers, e.failure.text)

    async def _have_replicas_asked(self) -> None:
        """Have the primary ask them again and again: by themselves they tell once a second.

        An engine may take a tenth of a second to see that its WAIT has ended, hence a connection for it.
        """
        async with self._nodes.own(self._primary) as link:
            while True:
                with contextlib.suppress(NodeFailure, NodeError):  # `_look` says so to those it concerns
                    await link.request("WAIT", 1 << 20, 1)
                self._asked = trio.Event()
                await self._asked.wait()

    def _take(self, info: bytes, newcomers: list[Waiter]) -> None:
        offset = OFFSET.search(info)
        if offset is None:  # a replica now: the next epoch says more
            return
        replicas = [int(found) for found in REPLICA.findall(info)]
        for waiter in newcomers:
            waiter.target = int(offset[1])
        for waiter in list(self._waiters):
            if waiter.target is None:
                continue
            target = waiter.target
            waiter.reached = sum(replica >= target for replica in replicas)
            waiter.looks += 1
            # the first answer may be a second old, and so less than the truth
            is_known = waiter.looks > 1 or waiter.reached == len(replicas)
            if is_known and waiter.reached >= waiter.wanted:
                del self._waiters[waiter]
                waiter.waiting.arrived()

    def _fail(self, newcomers: list[Waiter], error: str) -> None:
        """Who knows already what it waits for goes on: the node may be back in time."""
        for waiter in newcomers:
            if waiter.target is None:
                self._waiters.pop(waiter, None)
                waiter.waiting.end(error)
