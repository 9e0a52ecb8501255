"""Asks the same few questions over many open links, again and again, without waking a task for each.

    due (a heap of times) ─> question ─> socket          one epoll, one task: what is due or ready within
    epoll ─> replies ─> rider.answered ─> due again      a beat is handled at once

A link is ridden for as long as all goes as usual; at anything else its task gets it back and deals with it.
Knows nothing of health.
"""

from __future__ import annotations

import enum
import heapq
import itertools
import math
import select
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

import trio

from shardproxy.nodes.connection import Batch, Connection
from shardproxy.nodes.link import NodeLink
from shardproxy.wire.reply import Reply
from shardproxy.wire.resp import ProtocolError

BEAT = 0.01  # seconds; times are rounded up to it, so that questions leave and replies come in company


class Stop(enum.Enum):
    """Why a ride ended."""

    ASKED = enum.auto()  # the rider wants something else
    CLOSED = enum.auto()  # the node ended the connection, with no question open
    LOST = enum.auto()  # the connection broke while a question was open
    LATE = enum.auto()  # no reply in time; the connection is of no use any more


class Rider(Protocol):
    """Who rides a link. Neither method may wait."""

    def question(self, now: float) -> Batch | None:
        """What to ask now; None = give the link back instead."""

    def answered(self, asked_at: float, at: float, replies: list[Reply]) -> float | None:
        """Take the replies; return when to ask again (trio time), or None to get the link back."""


@dataclass(slots=True, eq=False)
class Ride:
    """One link on the pulse."""

    rider: Rider
    connection: Connection
    due: float
    asked_at: float | None = None  # a question is open since
    count: int = 0  # of its replies
    replies: list[Reply] = field(default_factory=list)
    stop: Stop | None = None
    why: str = ""
    is_taken: bool = False  # the node's host has acknowledged the question it did not answer in time
    stopped: trio.Event = field(default_factory=trio.Event)


class Pulse:
    """See above. `timeout`: seconds a reply may take."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._epoll = select.epoll()
        self._rides: dict[int, Ride] = {}
        self._riders: dict[Rider, Ride] = {}
        self._due: list[tuple[float, int, Ride]] = []
        self._open: deque[tuple[float, Ride]] = deque()  # questions, the oldest first
        self._numbers = itertools.count()
        self._nap = trio.CancelScope()
        self._wakes_at = -math.inf  # for want of anything to read; while it works, it sees for itself

    async def run(self) -> None:
        """Ask and take answers until cancelled."""
        try:
            while True:
                now = trio.current_time()
                self._take_answers(now)
                self._ask(now)
                self._give_up(now)
                self._wakes_at = self._next_at()
                with trio.CancelScope(deadline=self._wakes_at) as self._nap:
                    await trio.lowlevel.wait_readable(self._epoll.fileno())
                self._wakes_at = -math.inf
        finally:
            trio.lowlevel.notify_closing(self._epoll.fileno())
            self._epoll.close()

    async def ride(self, link: NodeLink, rider: Rider, due: float) -> Ride | None:
        """Let the rider have its questions asked over an open link, from `due` on; return how that ended.

        None: the link is not open. Nobody else may use it meanwhile.
        """
        connection = link.connection
        if connection is None:
            return None
        ride = Ride(rider, connection, due)
        number = connection.sock.fileno()
        self._rides[number] = self._riders[rider] = ride
        self._epoll.register(number, select.EPOLLIN)
        self._schedule(ride, due)
        try:
            await ride.stopped.wait()
        finally:
            del self._riders[rider]
            if self._rides.pop(number, None) is not None and not self._epoll.closed:
                self._epoll.unregister(number)
            if ride.stop is None:  # cancelled; a reply may still come
                ride.stop = Stop.ASKED
        return ride

    def hurry(self, rider: Rider, at: float) -> None:
        """Ask that rider's question at that time already."""
        ride = self._riders.get(rider)
        if ride is not None and ride.asked_at is None and ride.due > at:
            self._schedule(ride, at)

    def _schedule(self, ride: Ride, due: float) -> None:
        ride.due = math.ceil(due / BEAT) * BEAT
        heapq.heappush(self._due, (ride.due, next(self._numbers), ride))
        if ride.due < self._wakes_at:
            self._nap.deadline = self._wakes_at = ride.due

    def _next_at(self) -> float:
        at = self._due[0][0] if self._due else math.inf
        return min(at, self._open[0][0] + self._timeout) if self._open else at

    def _ask(self, now: float) -> None:
        while self._due and self._due[0][0] <= now:
            due, _, ride = heapq.heappop(self._due)
            if ride.due != due or ride.asked_at is not None or ride.stop is not None:
                continue  # it was hurried, or is over
            batch = ride.rider.question(now)
            if batch is None:
                self._stop(ride, Stop.ASKED)
                continue
            try:
                if not ride.connection.send_nowait(batch.data):
                    self._stop(ride, Stop.ASKED)
                    continue
            except OSError as error:
                self._stop(ride, Stop.LOST, error.strerror or str(error))
                continue
            ride.asked_at, ride.count = now, len(batch)
            self._open.append((now, ride))

    def _take_answers(self, now: float) -> None:
        for number, _ in self._epoll.poll(0, max(1, len(self._rides))):
            ride = self._rides.get(number)
            if ride is None or ride.stop is not None:
                continue
            try:
                if not ride.connection.receive_nowait(ride.replies):
                    continue
            except (OSError, EOFError, ProtocolError) as error:
                was_asked = ride.asked_at is not None
                why = "the connection was closed" if isinstance(error, EOFError) else str(error)
                self._stop(ride, Stop.LOST if was_asked else Stop.CLOSED, why)
                continue
            if ride.asked_at is None or len(ride.replies) > ride.count:
                self._stop(ride, Stop.LOST, "not RESP: more replies than requests")
            elif len(ride.replies) == ride.count:
                asked_at, replies = ride.asked_at, ride.replies
                ride.asked_at, ride.replies = None, []
                due = ride.rider.answered(asked_at, now, replies)
                if due is None:
                    self._stop(ride, Stop.ASKED)
                else:
                    self._schedule(ride, due)

    def _give_up(self, now: float) -> None:
        while self._open and (self._open[0][1].asked_at != self._open[0][0] or self._is_late(now)):
            asked_at, ride = self._open.popleft()
            if ride.asked_at == asked_at and ride.stop is None:
                ride.is_taken = ride.connection.is_taken
                self._stop(ride, Stop.LATE, f"no reply within {self._timeout:g} s")

    def _is_late(self, now: float) -> bool:
        return self._open[0][0] + self._timeout <= now

    def _stop(self, ride: Ride, stop: Stop, why: str = "") -> None:
        ride.stop, ride.why = stop, why
        number = ride.connection.sock.fileno()
        if self._rides.get(number) is ride:
            del self._rides[number]
            self._epoll.unregister(number)
        ride.stopped.set()
