"""A bounded set of connections per node, lent to one task at a time. Knows nothing of shards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Self

import trio

from shardproxy.model import Address
from shardproxy.nodes.errors import NodeTimeout
from shardproxy.nodes.link import DEFAULT_TIMEOUTS, Credentials, LinkTimeouts, NodeLink, Received
from shardproxy.nodes.resolve import Resolver
from shardproxy.nodes.speech import RESP, Speech
from shardproxy.nodes.tls import NodeTls
from shardproxy.wire.reply import Reply
from shardproxy.wire.resp import Argument

PER_NODE = 4  # enough that a slow answer does not hold up a quick one; the node's maxclients is not ours
IDLE = 30.0  # seconds after which an unused connection is closed


def no_credentials(address: Address) -> Credentials | None:
    return None


def no_tls(address: Address) -> NodeTls | None:
    return None


@dataclass(slots=True)
class _Pool:
    free: trio.Semaphore
    idle: list[tuple[float, NodeLink]] = field(default_factory=list)  # the longest idle first
    users: int = 0


class NodeLinks:
    """Connections to any number of nodes, at most `per_node` to each."""

    def __init__(
        self,
        *,
        credentials: Callable[[Address], Credentials | None] = no_credentials,
        tls: Callable[[Address], NodeTls | None] = no_tls,
        timeouts: LinkTimeouts = DEFAULT_TIMEOUTS,
        per_node: int = PER_NODE,
        resolver: Resolver | None = None,
        speech: Speech = RESP,
    ) -> None:
        self._speech = speech
        self._credentials = credentials
        self._tls = tls
        self._timeouts = timeouts
        self._per_node = per_node
        self._resolver = resolver
        self._pools: dict[Address, _Pool] = {}

    async def request(
        self, address: Address, *args: Argument, resp: int = 2, db: int = 0, timeout: float | None = None
    ) -> Reply:
        """As NodeLink.request, on a connection of this set."""
        async with self.borrow(address, timeout) as link:
            return await link.request(*args, resp=resp, db=db, timeout=timeout)

    async def request_many(
        self,
        address: Address,
        requests: Sequence[Sequence[Argument]],
        *,
        resp: int = 2,
        db: int = 0,
        timeout: float | None = None,
        run_id: str | None = None,
    ) -> list[Reply]:
        """As NodeLink.request_many, on a connection of this set."""
        async with self.borrow(address, timeout) as link:
            return await link.request_many(requests, resp=resp, db=db, timeout=timeout, run_id=run_id)

    async def request_raw(
        self, address: Address, *args: Argument, resp: int = 2, db: int = 0, timeout: float | None = None
    ) -> Received:
        """As NodeLink.request_raw, on a connection of this set."""
        async with self.borrow(address, timeout) as link:
            return await link.request_raw(*args, resp=resp, db=db, timeout=timeout)

    def own(self, address: Address) -> NodeLink:
        """A connection beside this set, for who would hold up others; the caller closes it."""
        return self._new(address)

    @asynccontextmanager
    async def borrow(self, address: Address, timeout: float | None = None) -> AsyncIterator[NodeLink]:
        """Have a connection for oneself; raise NodeTimeout when none gets free in time."""
        pool = self._pools.setdefault(address, _Pool(trio.Semaphore(self._per_node)))
        pool.users += 1
        try:
            await self._wait_free(pool, address, timeout)
            link = pool.idle.pop()[1] if pool.idle else self._new(address)
            try:
                yield link
            finally:
                if link.is_open:
                    pool.idle.append((trio.current_time(), link))
                pool.free.release()
        finally:
            pool.users -= 1
            self._close_idle(trio.current_time() - IDLE)

    async def _wait_free(self, pool: _Pool, address: Address, timeout: float | None) -> None:
        seconds = self._timeouts.reply if timeout is None else timeout
        try:
            with trio.fail_after(seconds):
                await pool.free.acquire()
        except trio.TooSlowError:
            why = f"all {self._per_node} connections were busy for {seconds:g} s"
            raise NodeTimeout(address, why, is_sent=False) from None

    def _new(self, address: Address) -> NodeLink:
        return NodeLink(
            address,
            credentials=partial(self._credentials, address),
            tls=partial(self._tls, address),
            timeouts=self._timeouts,
            resolver=self._resolver,
            speech=self._speech,
        )

    def _close_idle(self, since: float) -> None:
        """Close what has been idle since before that time, and forget nodes nobody talks to."""
        for address, pool in list(self._pools.items()):
            while pool.idle and pool.idle[0][0] < since:
                pool.idle.pop(0)[1].close()
            if not pool.idle and not pool.users:
                self._pools.pop(address, None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pool in self._pools.values():
            for _, link in pool.idle:
                link.close()
        self._pools.clear()
