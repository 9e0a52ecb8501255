"""Two open connections to every node that is watched: one to ask how it is, one in reserve for commands.

    monitor ─> connect ─> probe link        a node that hangs hangs here
    failover ─> request_many ─> reserve     open before it is needed: no lookup, no connect, no turn

When a primary dies its replicas have a fraction of a second to answer; looking up a name may take longer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import trio

from shardproxy.model import Address
from shardproxy.model.replication import ShardKey
from shardproxy.nodes.errors import NodeError, NodeFailure
from shardproxy.nodes.link import DEFAULT_TIMEOUTS, Credentials, LinkTimeouts, NodeLink
from shardproxy.nodes.links import NodeLinks
from shardproxy.nodes.resolve import Resolver
from shardproxy.nodes.tls import NodeTls
from shardproxy.wire.reply import Reply
from shardproxy.wire.resp import Argument

LOOK = 0.5  # seconds between looks at the reserves; one that ended is opened again
RETRY = 2.0  # seconds until the next try where none could be opened
OPENING = 32  # at once: nodes come in hundreds

L = TypeVar("L", bound=NodeLink)

# What to log in with, and what to speak TLS with, by cluster (None: whichever has the node) and node.
Login = Callable[[str | None, Address], Credentials | None]
Secure = Callable[[str | None, Address], NodeTls | None]


def no_login(cluster: str | None, address: Address) -> Credentials | None:
    return None


def no_tls(cluster: str | None, address: Address) -> NodeTls | None:
    return None


@dataclass(slots=True)
class _Reserve:
    """A node's second connection, kept for as long as somebody watches the node."""

    link: NodeLink
    users: int = 0
    opening: trio.CancelScope | None = None
    next_try_at: float = field(default=float("-inf"))


class OpenLinks:
    """The connections to watched nodes; to others they are opened when needed."""

    def __init__(
        self,
        *,
        login: Login = no_login,
        tls: Secure = no_tls,
        timeouts: LinkTimeouts = DEFAULT_TIMEOUTS,
        resolver: Resolver | None = None,
    ) -> None:
        self._login = login
        self._tls = tls
        self._timeouts = timeouts
        self._resolver = resolver
        self._reserves: dict[Address, _Reserve] = {}
        self._others = NodeLinks(
            credentials=partial(login, None), tls=partial(tls, None), timeouts=timeouts, resolver=resolver
        )
        self._is_new = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep every reserve open, until cancelled; then close all."""
        limiter = trio.CapacityLimiter(OPENING)
        async with self._others:
            try:
                async with trio.open_nursery() as nursery:
                    task_status.started()
                    while True:
                        for reserve in self._reserves.values():
                            if self._needs_opening(reserve):
                                reserve.opening = trio.CancelScope()
                                nursery.start_soon(self._open, reserve, reserve.opening, limiter)
                        with trio.move_on_after(LOOK):
                            await self._is_new.wait()
                        self._is_new = trio.Event()
            finally:
                for reserve in self._reserves.values():
                    reserve.link.close()

    def connect(self, key: ShardKey, address: Address) -> NodeLink:
        """Give a link to ask a node by; the node has a reserve until that is closed."""
        reserve = self._reserves.get(address)
        if reserve is None:
            reserve = self._reserves[address] = _Reserve(self._new(NodeLink, key, address))
        reserve.users += 1
        self._is_new.set()
        link = self._new(_ProbeLink, key, address)
        link.when_closed = partial(self._leave, address, reserve)
        return link

    async def request_many(
        self,
        address: Address,
        requests: Sequence[Sequence[Argument]],
        *,
        timeout: float,
        run_id: str | None = None,
    ) -> list[Reply]:
        """A reply for each; raise as NodeLink.request_many does."""
        reserve = self._reserves.get(address)
        if reserve is None or (reserve.link.is_busy and reserve.opening is None):
            return await self._others.request_many(address, requests, timeout=timeout, run_id=run_id)
        if reserve.opening is not None:
            reserve.opening.cancel()  # who has something to say opens it himself
        return await reserve.link.request_many(requests, timeout=timeout, run_id=run_id)

    def is_ready(self, address: Address) -> bool:
        """Whether a command to the node would leave at once."""
        reserve = self._reserves.get(address)
        return reserve is not None and reserve.link.is_open and not reserve.link.is_busy

    def _new(self, kind: type[L], key: ShardKey, address: Address) -> L:
        return kind(
            address,
            credentials=partial(self._login, key.cluster, address),
            tls=partial(self._tls, key.cluster, address),
            timeouts=self._timeouts,
            resolver=self._resolver,
        )

    def _needs_opening(self, reserve: _Reserve) -> bool:
        if reserve.opening is not None or reserve.link.is_busy:
            return False
        if reserve.link.is_open and not reserve.link.is_ended:
            return False
        return trio.current_time() >= reserve.next_try_at

    async def _open(self, reserve: _Reserve, scope: trio.CancelScope, limiter: trio.CapacityLimiter) -> None:
        try:
            with scope:
                async with limiter:
                    await reserve.link.open()
        except (NodeError, NodeFailure):  # its probe says why
            reserve.next_try_at = trio.current_time() + RETRY
        finally:
            reserve.opening = None
            if not reserve.users:
                reserve.link.close()

    def _leave(self, address: Address, reserve: _Reserve) -> None:
        reserve.users -= 1
        if reserve.users:
            return
        reserve.link.close()
        if reserve.opening is not None:
            reserve.opening.cancel()
        if self._reserves.get(address) is reserve:
            del self._reserves[address]


class _ProbeLink(NodeLink):
    """Tells, once, that its user is done with the node."""

    when_closed: Callable[[], None] | None = None

    def close(self) -> None:
        super().close()
        if self.when_closed is not None:
            self.when_closed()
            self.when_closed = None
