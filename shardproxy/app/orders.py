"""What a process is told from outside, in its order: signals, and once that another process takes over.

Bounded without losing anything: a signal that would say nothing new is passed over, and the socket of the
one heir has a place of its own. Owns that socket until it is taken.
"""

from __future__ import annotations

import signal
import socket
from collections import deque

import trio

Order = signal.Signals | socket.socket  # a socket: another process takes over

SAYS_MORE = {signal.SIGHUP: 1}  # that wait at once: a reload reads all there is then
STOPS = 2  # of any other: the first has it drain, the second ends that


class Orders:
    """See above. Iterated over by whoever obeys."""

    def __init__(self) -> None:
        self._waiting: deque[Order] = deque()
        self._has_heir = False
        self._is_given = trio.Event()

    def give(self, number: signal.Signals) -> None:
        """Have a signal obeyed."""
        if self._waiting.count(number) < SAYS_MORE.get(number, STOPS):
            self._add(number)

    def inherit(self, heir: socket.socket) -> bool:
        """Have the process at the other end take over; whether it is the first to. Else it is closed."""
        if self._has_heir:
            heir.close()
            return False
        self._has_heir = True
        self._add(heir)
        return True

    def close(self) -> None:
        """Nobody obeys any more. Idempotent."""
        for order in self._waiting:
            if isinstance(order, socket.socket):
                order.close()
        self._waiting.clear()

    def _add(self, order: Order) -> None:
        self._waiting.append(order)
        self._is_given.set()

    def __aiter__(self) -> Orders:
        return self

    async def __anext__(self) -> Order:
        while not self._waiting:
            self._is_given = trio.Event()
            await self._is_given.wait()
        return self._waiting.popleft()
