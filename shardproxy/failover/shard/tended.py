"""One shard as its task sees it: what it reads, what it remembers between decisions, what it may write."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import trio

from shardproxy.failover.backoff import backoff_left, why_not_yet
from shardproxy.failover.chores import Chores
from shardproxy.failover.decide import Situation
from shardproxy.failover.event_log import EventLog
from shardproxy.failover.events import EventName
from shardproxy.failover.healing import Configure, Follow, Persist
from shardproxy.failover.interfaces import Fencer, Objection, Witnesses
from shardproxy.failover.led import LedRecords
from shardproxy.failover.machine import Run
from shardproxy.failover.memory import Memory, is_current
from shardproxy.failover.setup import FailoverSettings, ShardSetup, record_new
from shardproxy.failover.steps import Steps
from shardproxy.model import Address
from shardproxy.model.board import Board
from shardproxy.model.health import NodeHealth, NodeKey
from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import Leadership, Store
from shardproxy.store.notes import is_paused
from shardproxy.store.record import Flapping, ShardRecord

REDO = 1.0  # seconds until something that could not be done is tried again
OUTVOTED = 2.0  # seconds that an objection stands until somebody who reaches the primary is to decide


class OutvotedError(Exception):
    """Most other proxies reach a primary that this one does not: one of them had better lead."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one process does at once, in all clusters that it leads."""

    at_once: trio.CapacityLimiter  # failovers
    at_start: trio.CapacityLimiter  # shards whose first primary is made

    @classmethod
    def of(cls, settings: FailoverSettings) -> Limits:
        return cls(trio.CapacityLimiter(settings.at_once), trio.CapacityLimiter(settings.at_start))


@dataclass(frozen=True, slots=True)
class Shared:
    """What the tasks of all shards have in common."""

    setups: Board[ShardKey, ShardSetup]
    health: Board[NodeKey, NodeHealth]
    store: Store
    fencer: Fencer
    events: EventLog
    settings: FailoverSettings
    leadership: Leadership
    steps: Steps
    limits: Limits
    led: LedRecords
    witnesses: Witnesses
    stays_until: float = 0.0  # we gave way to others a moment ago, and nobody else led: what we see adds up
    chores: Chores = field(default_factory=Chores)


@dataclass(slots=True)
class Tended:
    """Only the shard's own task changes it. Times are trio's."""

    shared: Shared
    configured: ShardSetup  # last: what is under way when it is withdrawn ends by it
    began_at: float
    memory: Memory = field(default_factory=Memory)
    done: frozenset[Configure | Persist] = frozenset()
    told: dict[Follow, float] = field(default_factory=dict)
    unfinished: Run | None = None  # could not go on
    alarm: str | None = None
    acknowledged: int = 0
    outcome: tuple[str, str | None] | None = None  # of the last request: its id, and why it was not done
    rests_until: float = (
        0.0  # something failed: news of what it did itself are no reason to try again at once
    )
    objected_since: float | None = None  # when others began to reach a primary that we do not
    noted_at: float = 0.0  # when the floor was put on record last
    _served: tuple[int, float] = (0, 0.0)  # the change that all proxies serve, and since when
    _flapping: tuple[Flapping | None, float] = (None, 0.0)  # on record, and when it ends

    @property
    def key(self) -> ShardKey:
        return self.configured.key

    @property
    def setup(self) -> ShardSetup:
        """As configured now; as it last was, once it is withdrawn."""
        self.configured = self.shared.setups.get(self.key, self.configured)
        return self.configured

    @property
    def record(self) -> ShardRecord:
        stored = self.shared.store.records.get(self.key)
        return stored if stored is not None else record_new(self.setup)

    @property
    def advice(self) -> str:
        return f"shardproxy failover {self.key.cluster} {self.setup.name or self.key.index} --to NODE"

    def healths(self) -> dict[Address, NodeHealth]:
        """Judged by the present record: what was said before the last change says nothing about now."""
        record = self.record
        nodes = dict.fromkeys((*self.setup.addresses, *record.nodes))
        found = ((node, self.shared.health.get((self.key, node))) for node in nodes)
        return {node: health for node, health in found if health is not None and health.epoch == record.epoch}

    def situation(self) -> Situation:
        now, record = trio.current_time(), self.record
        if self._flapping[0] != record.flapping:
            self._flapping = (record.flapping, now + backoff_left(record.flapping, time.time()))
        healths = self.healths()
        objection = self._objection(record, healths)
        return Situation(
            setup=self.setup,
            record=record,
            healths=healths,
            now=now,
            memory=self.memory,
            allowed_at=self._flapping[1],
            too_soon=why_not_yet(record.flapping, time.time()),
            served_since=self._served_since(record),
            done=self.done,
            is_paused=is_paused(self.shared.store.notes, self.key.cluster),
            is_patient=now - self.began_at < self.shared.settings.adopt_after,
            objection=objection.why if objection is not None else None,
        )

    def _objection(self, record: ShardRecord, healths: Mapping[Address, NodeHealth]) -> Objection | None:
        """What speaks against our own view of the primary, be it silent to us or to most others.

        Since when others would lead better is noted: who only knows why it is silent would not.
        """
        health = healths.get(record.primary) if record.primary is not None else None
        said = None
        if health is not None and record.primary is not None and not health.verdict.is_answering:
            said = self.shared.witnesses.objection(self.key, record.primary)
        elif health is not None and record.primary is not None and _is_alone(record, healths):
            why_down = self.shared.witnesses.why_down(self.key, record.primary)
            said = Objection(why_down, is_outvoted=True) if why_down is not None else None
        if said is None or not said.is_outvoted:
            self.objected_since = None
        elif self.objected_since is None:
            self.objected_since = trio.current_time()
        return said

    @property
    def outvoted_at(self) -> float | None:
        """When another one is to decide, unless we are believed or hear the primary before."""
        if self.objected_since is None:
            return None
        return max(self.objected_since + OUTVOTED, self.shared.stays_until)

    def _served_since(self, record: ShardRecord) -> float | None:
        """When it was first seen that all proxies serve the record as it is."""
        if self.shared.fencer.served(self.key) < record.changed:
            return None
        if self._served[0] != record.changed:
            self._served = (record.changed, trio.current_time())
        return self._served[1]

    def set_alarm(self, alarm: str | None) -> None:
        """Say a change once."""
        if alarm is not None and alarm != self.alarm:
            self.say(EventName.ALARM, alarm)
        elif alarm is None and self.alarm is not None:
            self.say(EventName.ALARM_CLEARED, f"no longer: {self.alarm}")
        self.alarm = alarm

    def say(self, name: EventName, message: str, *, seconds: float = 0.0) -> None:
        self.shared.events.add(name, self.key, message, seconds=seconds)

    def rest(self, seconds: float) -> float:
        """Do nothing by itself for so long; return until when."""
        self.rests_until = trio.current_time() + seconds
        return self.rests_until

    async def put(self, record: ShardRecord) -> ShardRecord:
        return await self.shared.led.put(record, self.shared.leadership)


def _is_alone(record: ShardRecord, healths: Mapping[Address, NodeHealth]) -> bool:
    """Whether, as far as we see, a primary has lost all that could take over from it."""
    voters = record.promise.voters
    return bool(voters) and not any(is_current(healths.get(node)) for node in voters)
