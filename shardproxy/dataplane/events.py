"""What the data plane tells, given to whom it concerns: news of nodes to health, the rest to the one reader.

workers ─ one queue ─> take ─┬─ NodeLost ─> hints ─> health
                             ├─ NodeDown ─> down: a board
                             ├─ AccessEvent ─> access: who came in or was kept out; the log, of connections
                             ├─ OutOfFiles ─> the log
                             └─ Offloaded, Abandoned, ClientDid, CacheAged ─> who iterates
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, TypeAlias

import structlog
import trio

from shardproxy.dataplane._native import (
    Abandoned,
    AccessEvent,
    CacheAged,
    ClientDid,
    NodeDown,
    NodeLost,
    Offloaded,
    OutOfFiles,
)
from shardproxy.dataplane.refusals import RefusalLog
from shardproxy.model import Address
from shardproxy.model.board import Board
from shardproxy.model.health import NodeDown as Down
from shardproxy.model.health import PoolKey

if TYPE_CHECKING:
    from shardproxy.dataplane import _native

MAX_HINTS = 256  # not taken yet; more say nothing new
MAX_ACCESSES = 16384  # not taken yet; more are counted, and lost
FILES_TOLD = 60.0  # seconds until the log is told again that there are no descriptors
FILES_ADVICE = "raise LimitNOFILE= (systemd) or `ulimit -Hn`, or lower limits.clients or limits.dedicated"

Event: TypeAlias = Offloaded | Abandoned | ClientDid | CacheAged  # what clients want and do

log = structlog.get_logger()


class Events(AsyncIterator[Event]):
    """Events as they come. A class, as a generator would have to be closed by its reader."""

    def __init__(self, native: _native.DataPlane) -> None:
        self._native = native
        self._waiting: deque[Event] = deque()
        self._ended = False
        self._hint, self.hints = trio.open_memory_channel[Address](MAX_HINTS)
        self._access, self.accesses = trio.open_memory_channel[AccessEvent](MAX_ACCESSES)
        self.accesses_lost = 0
        self._refusals = RefusalLog()
        self.down: Board[PoolKey, Down] = Board()
        self._strangers: dict[PoolKey, str] = {}  # that the log knows, and why they are
        self._files_told = float("-inf")  # when the log was told that there are none

    async def __anext__(self) -> Event:
        await trio.lowlevel.checkpoint()
        while not self._waiting:
            if self._ended:
                raise StopAsyncIteration
            self._take()
            if not self._waiting:
                await self._wait_readable()
        return self._waiting.popleft()

    def _take(self) -> None:
        for event in self._native.take():
            if isinstance(event, NodeLost):
                self._pass_hint(event)
            elif isinstance(event, NodeDown):
                self._show_down(event)
            elif isinstance(event, AccessEvent):
                self._pass_access(event)
            elif isinstance(event, OutOfFiles):
                self._tell_out_of_files(event)
            else:
                self._waiting.append(event)

    def _pass_hint(self, lost: NodeLost) -> None:
        address = Address.parse(lost.address)
        key = (lost.cluster, address)
        if lost.kind == "stranger" and self._strangers.get(key) != lost.why:
            self._strangers[key] = lost.why
            log.warning("node is a stranger", cluster=lost.cluster, node=lost.address, why=lost.why)
        with contextlib.suppress(trio.WouldBlock, trio.BrokenResourceError):  # they only save time
            self._hint.send_nowait(address)

    def _pass_access(self, event: AccessEvent) -> None:
        self._refusals.note(event)
        try:
            self._access.send_nowait(event)
        except (trio.WouldBlock, trio.BrokenResourceError):
            self.accesses_lost += 1

    def _show_down(self, node: NodeDown) -> None:
        key = (node.cluster, Address.parse(node.address))
        if node.why is None:
            self.down.hide(key)
        else:
            self.down.show(key, Down(node.why, trio.current_time()))

    def _tell_out_of_files(self, event: OutOfFiles) -> None:
        now = trio.current_time()
        if now >= self._files_told + FILES_TOLD:
            self._files_told = now
            log.error("out of file descriptors", wanted=event.what, advice=FILES_ADVICE)

    def forget_strangers(self, cluster: str) -> None:
        """Who a primary is has been told anew."""
        for key in [key for key in self._strangers if key[0] == cluster]:
            del self._strangers[key]

    async def _wait_readable(self) -> None:
        try:
            await trio.lowlevel.wait_readable(self._native.fileno())
        except trio.ClosedResourceError:  # stopped meanwhile
            self._ended = True

    def end(self) -> None:
        """Wake the reader for the last time; the descriptor is about to be closed."""
        self._ended = True
        trio.lowlevel.notify_closing(self._native.fileno())
