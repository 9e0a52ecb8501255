"""Asks every node of every shard how it is, and shows verdicts.

    records ─> which nodes ─> one task and one connection per node ─> ShardHealth ─> health board
    hints (a worker saw an error) ─> asks now                               └─> reads board (fit replicas)

Hints never decide anything: they only make us look sooner.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
import trio

from shardproxy.health.history import History
from shardproxy.health.pace import Attention, probe_depth, probe_interval
from shardproxy.health.probe import Asker, Link, probe
from shardproxy.health.settings import HealthSettings
from shardproxy.health.shard import ShardHealth
from shardproxy.health.statistics import HealthStatistics
from shardproxy.health.tilt import Tilt, tilt_counted, tilt_stalled
from shardproxy.model import Address
from shardproxy.model.board import Board
from shardproxy.model.health import NodeHealth, NodeKey, NodeState, Verdict
from shardproxy.model.replication import ShardKey
from shardproxy.store.record import ShardRecord

TICK = 0.1  # seconds; silence is noticed this late at most
MIN_GAP = 0.02  # seconds between two questions to a node, however many hints there are
QUIET = frozenset({NodeState.UP, NodeState.UNKNOWN, NodeState.SUSPECT})

log = structlog.get_logger()

Connect = Callable[[ShardKey, Address], Link]


def _shard_of(node: NodeKey) -> ShardKey:
    return node[0]


@dataclass(slots=True)
class Boards:
    """What a monitor shows."""

    health: Board[NodeKey, NodeHealth] = field(default_factory=lambda: Board(_shard_of))
    reads: Board[ShardKey, frozenset[Address]] = field(default_factory=Board)
    statistics: HealthStatistics = field(default_factory=HealthStatistics)


@dataclass(slots=True)
class _Prober:
    scope: trio.CancelScope
    wake: trio.Event


def _no_bound(key: ShardKey) -> float | None:
    return None


async def run_monitor(
    records: Board[ShardKey, ShardRecord],
    boards: Boards,
    connect: Connect,
    *,
    group: str = "",
    max_staleness: Callable[[ShardKey], float | None] = _no_bound,
    hints: trio.MemoryReceiveChannel[Address] | None = None,
    settings: HealthSettings | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Watch the nodes of all records until cancelled.

    `connect` opens nothing by itself; `max_staleness` gives seconds, or None where replicas are not bound;
    `hints` are addresses that just failed somebody.
    """
    settings = settings or HealthSettings()
    async with trio.open_nursery() as nursery:
        monitor = _Monitor(boards, connect, Asker(group, settings.probe_timeout), max_staleness, settings)
        if hints is not None:
            nursery.start_soon(monitor.heed, hints)
        nursery.start_soon(monitor.tick)
        task_status.started()
        seen = None
        while True:
            seen = records.version if seen is None else await records.wait_changed(seen)
            monitor.follow(records, nursery)


class _Monitor:
    def __init__(
        self,
        boards: Boards,
        connect: Connect,
        asker: Asker,
        max_staleness: Callable[[ShardKey], float | None],
        settings: HealthSettings,
    ) -> None:
        self._boards = boards
        self._connect = connect
        self._asker = asker
        self._max_staleness = max_staleness
        self._settings = settings
        self._shards: dict[ShardKey, ShardHealth] = {}
        self._probers: dict[NodeKey, _Prober] = {}
        self._tilt = Tilt()
        self._alert: set[ShardKey] = set()  # shards whose nodes were told to look closer

    def follow(self, records: Board[ShardKey, ShardRecord], nursery: trio.Nursery) -> None:
        """Watch what the records name, and nothing else."""
        now = trio.current_time()
        for key in [key for key in self._shards if key not in records]:
            del self._shards[key]
            self._alert.discard(key)
            self._boards.reads.hide(key)
        for key, record in records.items():
            shard = self._shards.get(key)
            if shard is None:
                shard = self._shards[key] = ShardHealth(record)
            if shard.record != record or not shard.histories:
                shard.update(record, now)
                self._judge(key)
                for node in record.nodes:
                    self._wake((key, node))
        wanted = {(key, node) for key, record in records.items() for node in record.nodes}
        for gone in set(self._probers) - wanted:
            self._probers.pop(gone).scope.cancel()
            self._boards.health.hide(gone)
        for new in wanted - set(self._probers):
            prober = self._probers[new] = _Prober(trio.CancelScope(), trio.Event())
            nursery.start_soon(self._watch, new, prober)

    async def heed(self, hints: trio.MemoryReceiveChannel[Address]) -> None:
        async for address in hints:
            for key in self._probers:
                if key[1] == address:
                    self._wake(key)

    async def tick(self) -> None:
        """Notice silence, also our own."""
        expected = trio.current_time()
        while True:
            expected = max(expected, trio.current_time()) + TICK
            await trio.sleep_until(expected)
            late = trio.current_time() - expected
            if late >= self._settings.stall_after:
                self._distrust(tilt_stalled(self._tilt, late, trio.current_time()))
            for key in self._shards:
                self._judge(key)
            self._count()

    def _count(self) -> None:
        """Are too many primaries silent at once to believe it?"""
        with_primary = [shard for shard in self._shards.values() if shard.record.primary is not None]
        silent = sum(shard.looks_down for shard in with_primary)
        tilt = tilt_counted(self._tilt, silent, len(with_primary), trio.current_time())
        if tilt.is_mass and not self._tilt.is_mass:
            self._distrust(tilt)
        self._tilt = tilt

    def _distrust(self, tilt: Tilt) -> None:
        self._tilt = tilt
        log.warning("health in doubt", why=tilt.reason, shards=len(self._shards))
        for shard in self._shards.values():
            shard.restart_timers(trio.current_time())

    async def _watch(self, key: NodeKey, prober: _Prober) -> None:
        """Ask one node, over and over."""
        link = self._connect(*key)
        connection: int | None = None
        surveyed_at: float | None = None
        was_closed = False
        try:
            with prober.scope:
                while True:
                    now = trio.current_time()
                    prober.wake = trio.Event()
                    depth = probe_depth(
                        self._history(key), surveyed_at, now, self._attention(key), self._settings
                    )
                    result = await probe(link, depth, self._asker, connection, was_closed=was_closed)
                    if prober.scope.cancel_called:
                        break  # the node left the shard while it was asked
                    connection = result.connection or connection
                    surveyed_at = now if result.is_surveyed else surveyed_at
                    self._shards[key[0]].observe(key[1], result)
                    self._judge(key[0])
                    interval = probe_interval(self._history(key), self._attention(key), self._settings)
                    was_closed = False
                    await trio.sleep_until(now + MIN_GAP)
                    with trio.move_on_at(now + interval):
                        was_closed = await _wait_closed(link, prober.wake)
        finally:
            link.close()

    def _judge(self, key: ShardKey) -> None:
        """Renew a shard's verdicts and show what is new."""
        shard, now = self._shards[key], trio.current_time()
        before = dict(shard.verdicts)
        shard.judge(now, self._settings, is_tilted=self._tilt.is_tilted(now))
        for node, verdict in shard.verdicts.items():
            self._boards.health.show((key, node), shard.health(node))
            if verdict is not before.get(node):
                _log_change(shard, node, before.get(node), verdict)
        self._boards.reads.show(key, shard.readable(self._max_staleness(key), now))
        if not (shard.is_suspect or shard.is_refused):
            self._alert.discard(key)
        elif key not in self._alert:
            self._alert.add(key)
            for node in shard.histories:
                self._wake((key, node))

    def _wake(self, key: NodeKey) -> None:
        if key in self._probers:
            self._probers[key].wake.set()

    def _history(self, key: NodeKey) -> History:
        return self._shards[key[0]].histories[key[1]]

    def _attention(self, key: NodeKey) -> Attention:
        shard = self._shards[key[0]]
        return Attention(
            is_primary=key[1] == shard.record.primary,
            is_suspect=shard.is_suspect,
            is_refused=shard.is_refused,
            is_sampled=self._max_staleness(key[0]) is not None,
            nodes=len(self._probers),
            has_replicas=len(shard.histories) > 1,
        )


async def _wait_closed(link: Link, wake: trio.Event) -> bool:
    """Wait for either; True when the node ended the connection: no need to ask to know that."""
    was_closed = False

    async def heed() -> None:
        await wake.wait()
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(heed)
        await link.wait_closed()
        was_closed = True
        nursery.cancel_scope.cancel()
    return was_closed


def _log_change(shard: ShardHealth, node: Address, before: Verdict | None, verdict: Verdict) -> None:
    """Changes only, with the reason, once."""
    if before is None and verdict.state is NodeState.UNKNOWN:
        return
    say = log.info if verdict.state in QUIET else log.warning
    say(
        f"node {verdict.state.value}",
        node=str(node),
        shard=str(shard.record.key),
        role="primary" if node == shard.record.primary else "replica",
        was=before.state.value if before else None,
        why=verdict.reason,
        epoch=shard.record.epoch,
    )
