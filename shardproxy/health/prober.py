"""Asks one node, over and over: by itself when something is the matter, by the pulse while all is as usual.

Decides nothing: how much is asked and when, and what follows from the answers, is the monitor's.
"""

from __future__ import annotations

from functools import partial
from typing import Protocol

import trio

from shardproxy.health.outcome import ALIVE, Outcome, ProbeResult
from shardproxy.health.pace import Attention
from shardproxy.health.probe import BATCHES, Asker, Depth, Link, failed, probe, read_result
from shardproxy.health.shard import ShardHealth
from shardproxy.health.turnstile import Turnstile
from shardproxy.model.health import NodeKey
from shardproxy.nodes import Batch, NodeLink, Pulse, Stop
from shardproxy.wire.info import InfoError
from shardproxy.wire.reply import Reply

MIN_GAP = 0.02  # seconds between two questions to a node, however many hints there are
GOLDEN = 0.618034  # multiples of it, less their whole parts, spread evenly however many there are


class Watcher(Protocol):
    """The monitor, as its probers see it."""

    @property
    def asker(self) -> Asker: ...

    @property
    def pulse(self) -> Pulse: ...

    @property
    def turnstile(self) -> Turnstile: ...

    def depth(self, key: NodeKey, shard: ShardHealth, now: float) -> Depth:
        """How much to ask a node now."""

    def pace(self, key: NodeKey, shard: ShardHealth) -> tuple[Attention, float]:
        """What a node's part asks for, and how many seconds there are from one question to the next."""

    def observe(self, key: NodeKey, shard: ShardHealth, result: ProbeResult) -> None:
        """Take a result."""

    def count_question(self) -> None: ...


class Prober:
    """One watched node: asked by its task, or by the pulse while all is as usual."""

    def __init__(self, monitor: Watcher, key: NodeKey, shard: ShardHealth, link: Link, number: int) -> None:
        self.monitor = monitor
        self.key = key
        self.shard = shard
        self.link = link
        self.scope = trio.CancelScope()
        self.is_woken = False
        self.asked_at = trio.current_time()  # last
        self.phase = number * GOLDEN % 1.0  # of the first interval: questions are spread over time
        self._nap = trio.CancelScope()
        self._depth = Depth.PING

    def wake(self) -> None:
        """Ask as soon as may be."""
        self.is_woken = True
        self._nap.cancel()
        self.monitor.pulse.hurry(self, self.asked_at + MIN_GAP)

    async def run(self) -> None:
        """Ask, over and over, until the node leaves the shard."""
        connection: int | None = None
        was_closed = False
        try:
            with self.scope:
                while True:
                    self.asked_at, self.is_woken = trio.current_time(), False
                    self.monitor.count_question()
                    depth = self.monitor.depth(self.key, self.shard, self.asked_at)
                    ask = partial(probe, self.link, depth, self.monitor.asker, connection)
                    if isinstance(self.link, NodeLink) and not self.link.is_open:
                        async with self.monitor.turnstile.passing():
                            self.asked_at = trio.current_time()
                            result = await ask(was_closed=was_closed)
                    else:
                        result = await ask(was_closed=was_closed)
                    if self.scope.cancel_called:
                        break  # the node left the shard while it was asked
                    connection = result.connection or connection
                    self.monitor.observe(self.key, self.shard, result)
                    due = self._next_due(self.asked_at)
                    if isinstance(self.link, NodeLink) and result.outcome in ALIVE - {Outcome.DENIED}:
                        was_closed = await self._ride(self.link, due)
                    else:
                        was_closed = await self._sleep(due)
                    await trio.sleep_until(self.asked_at + MIN_GAP)
        finally:
            self.link.close()

    def _next_due(self, asked_at: float) -> float:
        if self.is_woken:
            return asked_at + MIN_GAP
        _, interval = self.monitor.pace(self.key, self.shard)
        if self.phase:
            interval, self.phase = max(MIN_GAP, interval * self.phase), 0.0
        return asked_at + interval

    async def _sleep(self, due: float) -> bool:
        """Wait for that time; True when the node ended the connection: no need to ask to know that."""
        with trio.CancelScope(deadline=due) as self._nap:
            if not self.is_woken:
                await self.link.wait_closed()
                return True
        return False

    async def _ride(self, link: NodeLink, due: float) -> bool:
        """Have the pulse ask for as long as that is enough; True when the node ended the connection."""
        ride = await self.monitor.pulse.ride(link, self, due)
        if ride is None:
            return await self._sleep(due)
        if ride.stop in (Stop.LOST, Stop.LATE):
            link.drop()
            outcome = Outcome.LOST if ride.stop is Stop.LOST else Outcome.TIMEOUT
            asked_at, is_unreached = (
                ride.asked_at or self.asked_at,
                ride.stop is Stop.LATE and not ride.is_taken,
            )
            result = failed(asked_at, outcome, ride.why, is_unreached=is_unreached)
            self.monitor.observe(self.key, self.shard, result)
            if not self.is_woken:
                await self._sleep(self._next_due(self.asked_at))
        return ride.stop is Stop.CLOSED

    # What the pulse asks

    def question(self, now: float) -> Batch | None:
        self._depth = self.monitor.depth(self.key, self.shard, now)
        if self._depth is Depth.SURVEY:
            return None
        self.asked_at, self.is_woken = now, False
        self.monitor.count_question()
        return BATCHES[self._depth]

    def answered(self, asked_at: float, at: float, replies: list[Reply]) -> float | None:
        is_beat = self._depth is Depth.PING and replies[0] == b"PONG"
        if is_beat and self.shard.beat(self.key[1], asked_at, at):
            return self._next_due(asked_at)
        try:
            result = read_result(self._depth, replies, self.link, asked_at, at)
        except InfoError as error:
            result = failed(asked_at, Outcome.LOST, str(error))
        self.monitor.observe(self.key, self.shard, result)
        if result.outcome not in ALIVE or result.outcome is Outcome.DENIED:
            return None
        return self._next_due(asked_at)
