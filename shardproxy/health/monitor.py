"""Asks every node of every shard how it is, and shows verdicts.

    records ─> which nodes ─> one task and one connection per node ─> ShardHealth ─> health board
    hints (a worker saw an error) ─> asks now        │                      └─> reads board (fit replicas)
                                                     └─ while all is as usual, the pulse asks for all of them

Hints never decide anything: they only make us look sooner. A shard is judged when something is heard of it,
and when time alone may change a verdict.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import structlog
import trio

from shardproxy.health.outcome import ProbeResult
from shardproxy.health.pace import Attention, probe_depth, probe_interval
from shardproxy.health.probe import Asker, Depth, Link
from shardproxy.health.prober import Prober
from shardproxy.health.settings import HealthSettings
from shardproxy.health.shard import News, ShardHealth
from shardproxy.health.slow import SlowCall, SlowCommands
from shardproxy.health.statistics import HealthStatistics
from shardproxy.health.tilt import Tilt, tilt_counted, tilt_stalled
from shardproxy.health.traffic import NoTraffic, Traffic
from shardproxy.health.turnstile import Turnstile
from shardproxy.model import Address
from shardproxy.model.board import Board
from shardproxy.model.health import NodeHealth, NodeKey, NodeState, Verdict, shard_of
from shardproxy.model.replication import ShardKey
from shardproxy.model.vitals import Vitals
from shardproxy.nodes import Pulse
from shardproxy.store.record import ShardRecord

TICK = 0.1  # seconds; silence is noticed this late at most
SPARED = 1.0  # seconds; told again with every tick, as long as a node is busy
LONG = 0.5  # of `down_after`: a command that took so long once may take longer
REVIEW = 1.0  # seconds between looks at what a reload may have changed
QUIET = frozenset({NodeState.UP, NodeState.UNKNOWN, NodeState.SUSPECT})

log = structlog.get_logger()

Connect = Callable[[ShardKey, Address], Link]


@dataclass(slots=True)
class Boards:
    """What a monitor shows."""

    health: Board[NodeKey, NodeHealth] = field(default_factory=lambda: Board(topic_of=shard_of))
    reads: Board[ShardKey, frozenset[Address]] = field(default_factory=Board)
    watched: Board[ShardKey, bool] = field(default_factory=Board)  # shards whose verdicts are kept true now
    statistics: HealthStatistics = field(default_factory=HealthStatistics)
    vitals: dict[NodeKey, Vitals] = field(default_factory=dict)  # as last told; nobody is woken by them


def _no_bound(key: ShardKey) -> float | None:
    return None


def _decides() -> bool:
    return False


async def run_monitor(
    records: Board[ShardKey, ShardRecord],
    boards: Boards,
    connect: Connect,
    *,
    group: str = "",
    is_observer: Callable[[], bool] = _decides,
    is_delegated: Callable[[], bool] = _decides,
    max_staleness: Callable[[ShardKey], float | None] = _no_bound,
    hints: trio.MemoryReceiveChannel[Address] | None = None,
    traffic: Traffic | None = None,
    settings: HealthSettings | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Watch the nodes of all records until cancelled.

    `connect` opens nothing by itself; `is_observer`: we may not change their replication, so others need not
    give way to us; `is_delegated`: Sentinel, or a Redis Cluster, is meant to; `max_staleness` gives seconds,
    or None where replicas are not bound; `hints` are addresses that just failed somebody; `traffic` knows
    what nodes were sent, and is told which are only busy.
    """
    settings = settings or HealthSettings()
    async with trio.open_nursery() as nursery:
        asker = Asker(group, settings.probe_timeout, is_observer, is_delegated)
        monitor = _Monitor(boards, connect, asker, max_staleness, settings, traffic or NoTraffic())
        if hints is not None:
            nursery.start_soon(monitor.heed, hints)
        nursery.start_soon(monitor.tick)
        nursery.start_soon(monitor.pulse.run)
        task_status.started()
        seen = None
        try:
            while True:
                seen = records.version if seen is None else await records.wait_changed(seen)
                monitor.follow(records, nursery)
        finally:
            monitor.end()


class _Monitor:
    def __init__(
        self,
        boards: Boards,
        connect: Connect,
        asker: Asker,
        max_staleness: Callable[[ShardKey], float | None],
        settings: HealthSettings,
        traffic: Traffic,
    ) -> None:
        self.asker = asker
        self.pulse = Pulse(settings.probe_timeout)
        self.turnstile = Turnstile()
        self._boards = boards
        self._connect = connect
        self._max_staleness = max_staleness
        self._mute: set[NodeKey] = set()  # they tell no vitals, and that was said
        self._configured = self._settings = settings
        self._traffic = traffic
        self._slow: dict[str, SlowCommands] = {}  # by cluster
        self._shards: dict[ShardKey, ShardHealth] = {}
        self._probers: dict[NodeKey, Prober] = {}
        self._paces: dict[ShardKey, dict[bool, tuple[Attention, float]]] = {}  # by whether it is the primary
        self._started = 0
        self._bounds: dict[ShardKey, float | None] = {}  # max_staleness, as judged by
        self._suspects = self._refused = 0  # nodes of such shards
        self._tilt = Tilt()
        self._was_tilted = False
        self._alert: set[ShardKey] = set()  # shards whose nodes were told to look closer

    def follow(self, records: Board[ShardKey, ShardRecord], nursery: trio.Nursery) -> None:
        """Watch what the records name, and nothing else."""
        now = trio.current_time()
        self._settings = self._configured.for_many(len(records), sum(len(r.nodes) for r in records.values()))
        for key in [key for key in self._shards if key not in records]:
            del self._shards[key]
            self._paces.pop(key, None)
            self._bounds.pop(key, None)
            self._alert.discard(key)
            self._boards.reads.hide(key)
            self._boards.watched.hide(key)
        for key, record in records.items():
            shard = self._shards.get(key)
            if shard is None:
                standing_of = partial(self._traffic.standing, key.cluster)
                shard = self._shards[key] = ShardHealth(record, standing_of=standing_of)
            if shard.record != record or not shard.histories:
                shard.update(record, now)
                self._judge(key)
                for node in record.nodes:
                    self._wake((key, node))
            self._boards.watched.show(key, True)
        wanted = {(key, node) for key, record in records.items() for node in record.nodes}
        for gone in set(self._probers) - wanted:
            self._probers.pop(gone).scope.cancel()
            self._boards.health.hide(gone)
            self._boards.vitals.pop(gone, None)
            self._mute.discard(gone)
        for new in sorted(wanted - set(self._probers)):
            self._started += 1
            prober = self._probers[new] = Prober(
                self, new, self._shards[new[0]], self._connect(*new), self._started
            )
            nursery.start_soon(prober.run)

    def end(self) -> None:
        """Verdicts stand, but nobody keeps them true."""
        for key in self._shards:
            self._boards.watched.hide(key)

    async def heed(self, hints: trio.MemoryReceiveChannel[Address]) -> None:
        async for address in hints:
            for key in self._probers:
                if key[1] == address:
                    self._wake(key)

    async def tick(self) -> None:
        """Notice silence, also our own."""
        expected = review_at = trio.current_time()
        while True:
            expected = max(expected, trio.current_time()) + TICK
            await trio.sleep_until(expected)
            now = trio.current_time()
            late = now - expected
            self._boards.statistics.note_delay(late, now)
            if late >= self._settings.stall_after:
                self._distrust(tilt_stalled(self._tilt, late, now))
            if now >= review_at:
                review_at = now + REVIEW
                self._review()
            is_tilted = self._tilt.is_tilted(now)
            for key, shard in self._shards.items():
                if is_tilted != self._was_tilted or (shard.due_at <= now and self._is_due(key, now)):
                    self._judge(key)
                for node in shard.busy:
                    self._traffic.spare(key.cluster, node, SPARED)
            self._count()

    def _review(self) -> None:
        """A reload may have changed what we ask, what we are called, or how old data may be."""
        self._paces.clear()
        for key in self._shards:
            if self._bounds.get(key) != self._max_staleness(key):
                self._judge(key)

    def _is_due(self, key: ShardKey, now: float) -> bool:
        """A sign of life postpones the moment, which is not noted before it has come."""
        return self._shards[key].plan(self._settings, self._bounds.get(key)) <= now

    def _count(self) -> None:
        """Are too many primaries silent at once to believe it?"""
        now = trio.current_time()
        total = silent = self._suspects = self._refused = 0
        for shard in self._shards.values():
            self._suspects += len(shard.histories) * shard.is_suspect
            self._refused += len(shard.histories) * shard.is_refused
            if shard.record.primary is not None:
                total += 1
                silent += shard.looks_down
        tilt = tilt_counted(self._tilt, silent, total, now)
        if tilt.is_mass and not self._tilt.is_mass:
            self._distrust(tilt)
        self._tilt = tilt
        self._show_tilt(is_tilted=tilt.is_tilted(now))

    def _show_tilt(self, *, is_tilted: bool) -> None:
        if is_tilted == self._was_tilted:
            return
        self._was_tilted = is_tilted
        for cluster in {key.cluster for key in self._shards}:
            if is_tilted:
                self._boards.statistics.tilted[cluster] = self._tilt.reason
            else:
                self._boards.statistics.tilted.pop(cluster, None)

    def _distrust(self, tilt: Tilt) -> None:
        self._tilt = tilt
        log.warning("health in doubt", why=tilt.reason, shards=len(self._shards))
        for key, shard in self._shards.items():
            shard.restart_timers(trio.current_time())
            self._judge(key)

    def count_question(self) -> None:
        self._boards.statistics.questions += 1

    def observe(self, key: NodeKey, shard: ShardHealth, result: ProbeResult) -> None:
        """Take a result, and judge what it may change; a node that left meanwhile is nobody's."""
        if self._shards.get(key[0]) is not shard or key[1] not in shard.histories:
            return
        if result.is_surveyed:
            self._note_slow(key[0].cluster, result.slow)
            self._note_vitals(key, result.vitals)
        match shard.observe(key[1], result):
            case News.MAYBE:
                self._judge(key[0])
            case News.FIGURES:
                self._boards.health.show(key, shard.health(key[1], result.at))
                if (max_staleness := self._bounds.get(key[0])) is not None:
                    self._boards.reads.show(key[0], shard.readable(max_staleness, result.at))

    def _note_vitals(self, key: NodeKey, vitals: Vitals | None) -> None:
        """Keep what a node says of itself; say once that it does not."""
        if vitals is not None:
            self._boards.vitals[key] = vitals
            self._mute.discard(key)
            return
        if key not in self._mute:
            why = "its user may not ask for INFO: +info lets it"
            log.warning("node tells no figures", cluster=key[0].cluster, node=str(key[1]), why=why)
            self._mute.add(key)
        self._boards.vitals.pop(key, None)

    def _note_slow(self, cluster: str, calls: Sequence[SlowCall]) -> None:
        """Tell what is new, and first whatever there is: it may not be what a monitor before us told."""
        known = self._slow.get(cluster)
        before = known or SlowCommands()
        limit = LONG * self._settings.down_after
        noted = self._slow[cluster] = before.noted(calls, limit, time.time(), self._traffic.is_command)
        if known is None or noted.names != before.names:
            self._traffic.expect_slow(cluster, noted.names)
        if noted.names != before.names:
            log.info("commands that take long", cluster=cluster, commands=sorted(noted.names))

    def _judge(self, key: ShardKey) -> None:
        """Renew a shard's verdicts and show what is new."""
        shard, now = self._shards[key], trio.current_time()
        before = dict(shard.verdicts)
        shard.judge(now, self._settings, is_tilted=self._tilt.is_tilted(now))
        max_staleness = self._bounds[key] = self._max_staleness(key)
        shard.plan(self._settings, max_staleness)
        self._paces.pop(key, None)
        for node, verdict in shard.verdicts.items():
            self._boards.health.show((key, node), shard.health(node, now))
            if verdict is not before.get(node):
                _log_change(shard, node, before.get(node), verdict)
        self._boards.reads.show(key, shard.readable(max_staleness, now))
        if not (shard.is_suspect or shard.is_refused):
            self._alert.discard(key)
        elif key not in self._alert:
            self._alert.add(key)
            for node in shard.histories:
                self._wake((key, node))

    def _wake(self, key: NodeKey) -> None:
        if key in self._probers:
            self._probers[key].wake()

    def depth(self, key: NodeKey, shard: ShardHealth, now: float) -> Depth:
        """How much to ask a node now."""
        attention, _ = self.pace(key, shard)
        return probe_depth(shard.histories[key[1]], now, attention, self._settings)

    def pace(self, key: NodeKey, shard: ShardHealth) -> tuple[Attention, float]:
        """What a node's part asks for, and how many seconds there are from one question to the next."""
        is_primary = key[1] == shard.record.primary
        known = self._paces.setdefault(key[0], {})
        if is_primary not in known:
            attention = Attention(
                is_primary=is_primary,
                is_suspect=shard.is_suspect,
                is_refused=shard.is_refused,
                is_sampled=self._max_staleness(key[0]) is not None,
                nodes=len(self._probers),
                has_replicas=len(shard.histories) > 1,
                is_managed_by_others=shard.has_manager,
                client_name=self.asker.client_name,
                suspects=self._suspects,
                refused=self._refused,
            )
            known[is_primary] = attention, probe_interval(attention, self._settings)
        return known[is_primary]


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
