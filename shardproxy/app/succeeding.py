"""Takes the place of the process before, and lets another one take ours."""

from __future__ import annotations

import socket
from functools import partial

import structlog
import trio

from shardproxy.app.handover import NotNowError, offered, run_handover, takeover_end
from shardproxy.app.inheritance import Inherited
from shardproxy.app.orders import Orders
from shardproxy.app.starting import Opened
from shardproxy.store.local import LocalStore
from shardproxy.store.local.link import Link
from shardproxy.topology.supervisor import run_always

log = structlog.get_logger()


class Succeeding:
    """One process's; `orders` hears of its heir."""

    def __init__(self, opened: Opened, orders: Orders) -> None:
        self._opened = opened
        self._orders = orders

    async def run(self, nursery: trio.Nursery) -> None:
        """Have the process before leave, if there is one; and be there for the one after."""
        opened, store = self._opened, self._opened.store
        if (link := opened.inheritance.link) is not None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            with ours, theirs:
                opened.dataplane.take_over(ours)
                if not isinstance(store, LocalStore):
                    nursery.start_soon(link.run)
                await takeover_end(link, theirs)
        if opened.handover is None:
            return

        def join(link: Link, twin: str) -> None:
            link.on("serving", lambda _: self._inherited_by(link))
            if isinstance(store, LocalStore):
                store.join(link, twin)
            else:
                nursery.start_soon(link.run)

        handover = partial(run_handover, opened.handover, store.member, self._offer, join)
        nursery.start_soon(run_always, "handover", handover)

    def _offer(self) -> list[Inherited]:
        """What another process is given; raise NotNowError."""
        opened, store = self._opened, self._opened.store
        if isinstance(store, LocalStore) and (why := store.why_no_twin) is not None:
            raise NotNowError(why)
        is_kept = any(one.is_kept for one in opened.inheritance.sockets)
        return offered(opened.listener, opened.dataplane.sockets(), is_kept)

    def _inherited_by(self, link: Link) -> None:
        if (heir := link.take_socket()) is not None and not self._orders.inherit(heir):
            log.warning("another process takes over already")
