"""Lets clients go: each has the replies of what it sent, until the deadline or a second signal."""

from __future__ import annotations

import signal
import socket
from dataclasses import dataclass

import structlog
import trio

from shardproxy.app.orders import Orders
from shardproxy.config.timeouts import ProcessTimeouts
from shardproxy.dataplane import DataPlane

POLL = 0.02  # seconds between looks at how many clients are left
IDLE = (
    0.25  # seconds; longer than a busy client is idle: closed as it sends something, it would hear no answer
)
FAREWELL = 1.0  # seconds

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Draining:
    """One process's; what decides about clusters has ended before."""

    dataplane: DataPlane
    listener: socket.socket
    admin: trio.CancelScope  # of who answers there
    orders: Orders

    async def run(self, timeouts: ProcessTimeouts, heir: socket.socket | None) -> None:
        """With an heir most clients go on there. Return when all have gone, or are about to be cut off."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cancel_on_signal, nursery.cancel_scope)
            if heir is not None:
                self.listener.close()
                self.admin.cancel()
                self.dataplane.pass_to(heir)
            else:
                await trio.sleep(timeouts.drain_delay)
                self.dataplane.drain(min(IDLE, timeouts.drain))
            await self._wait_gone(timeouts.drain)
            nursery.cancel_scope.cancel()
        if heir is not None and self.dataplane.client_count():
            self.dataplane.drain()  # who listens, waits or speaks TLS has been let be until now
            await self._wait_gone(FAREWELL)
        left = self.dataplane.client_count()
        if left:
            log.warning("clients cut off", clients=left, why="second signal or deadline")

    async def _wait_gone(self, deadline: float) -> None:
        with trio.move_on_after(deadline):
            while self.dataplane.client_count():  # noqa: ASYNC110  # counters have no event
                await trio.sleep(POLL)

    async def _cancel_on_signal(self, scope: trio.CancelScope) -> None:
        async for order in self.orders:
            if isinstance(order, socket.socket):
                order.close()  # too late: clients are told to leave
            elif order != signal.SIGHUP:
                scope.cancel()
                return
