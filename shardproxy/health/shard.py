"""What is known of one shard's nodes, and the verdicts that follow. Knows nothing of tasks and sockets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from shardproxy.health.attached import NOBODY, Attachment, Member, attachment
from shardproxy.health.detector import SURE, Question, judge, next_change
from shardproxy.health.history import (
    History,
    history_accept,
    history_beat,
    history_observe,
    history_restart_timers,
    history_start,
)
from shardproxy.health.manager import MEMORY, manager_in_force
from shardproxy.health.outcome import Outcome, ProbeResult
from shardproxy.health.settings import HealthSettings
from shardproxy.health.staleness import CURRENT_WITHIN, OffsetTrail, why_not_readable
from shardproxy.health.witness import FRESH, LINK_MARGIN, Whom, Witness, replica_witness
from shardproxy.model import Address
from shardproxy.model.health import NodeHealth, NodeState, Verdict
from shardproxy.model.replication import Replication, Role
from shardproxy.store.record import ShardRecord

MANY_REFUSALS = 20  # in a row: whoever had to notice has noticed
LOOKS_DOWN = frozenset({NodeState.SUSPECT, NodeState.CUT_OFF, NodeState.DOWN})


@dataclass(slots=True)
class ShardHealth:
    """One shard: its record, and a history and a verdict for each of its nodes.

    What others are shown is renewed by `judge`; `due_at` says when that is needed although nothing is heard.
    """

    record: ShardRecord
    histories: dict[Address, History] = field(default_factory=dict)
    verdicts: dict[Address, Verdict] = field(default_factory=dict)
    trail: OffsetTrail = field(default_factory=OffsetTrail)
    due_at: float = -math.inf
    judged_at: float = -math.inf  # all of it
    is_suspect: bool = True  # look closer: no primary, not simply up, or a replica's part is not on record yet
    is_refused: bool = False  # its primary began to refuse connections a moment ago
    looks_down: bool = False  # its primary is silent, or worse
    has_manager: bool = False  # somebody else manages a node, or did when that was last asked
    _attachment: Attachment = NOBODY
    _listed: tuple[tuple[Address, ...], tuple[Member, ...]] | None = None  # what that was made from

    def update(self, record: ShardRecord, now: float) -> None:
        """Take a newer record: other members, other roles."""
        before, self.record = self.record, record
        for gone in set(self.histories) - set(record.nodes):
            del self.histories[gone]
            self.verdicts.pop(gone, None)
        has_new_roles = (before.epoch, before.state, before.primary) != (
            record.epoch,
            record.state,
            record.primary,
        )
        for node in record.nodes:
            is_new = node not in self.histories
            if is_new:
                self.histories[node] = history_start(now)
            if is_new or has_new_roles:
                run_id = record.run_id if node == record.primary and record.run_id else None
                self.histories[node] = history_accept(self.histories[node], now, run_id)
        if has_new_roles:
            self.trail = OffsetTrail()

    def observe(self, node: Address, result: ProbeResult) -> tuple[Address, ...] | None:
        """Add what came of a question; return the nodes that may have to be judged anew, None being all.

        A node that is no member any more is ignored.
        """
        history = self.histories.get(node)
        if history is None:
            return ()
        if self._is_beat(node, history, result):
            self.histories[node] = history_beat(history, result)
            return ()
        now = self.histories[node] = history_observe(history, result)
        if node == self.record.primary and now.replication is not history.replication:
            self._sample(result)
        verdict = self.verdicts.get(node)
        is_as_before = (
            verdict is not None
            and verdict.state is NodeState.UP
            and history.last is not None
            and history.last.outcome is result.outcome is Outcome.PONG
            and (now.replication, now.server, now.manager) == (history.replication, history.server, history.manager)
        )
        if is_as_before and (not self.is_suspect or node == self.record.primary):
            return (node,)
        return None

    def _is_beat(self, node: Address, history: History, result: ProbeResult) -> bool:
        """A healthy node answered once more, and said nothing of itself."""
        verdict = self.verdicts.get(node)
        return (
            result.outcome is Outcome.PONG
            and result.replication is None
            and not result.is_surveyed
            and history.last is not None
            and history.last.outcome is Outcome.PONG
            and verdict is not None
            and verdict.state is NodeState.UP
            and result.asked_at >= history.since
        )

    def _sample(self, result: ProbeResult) -> None:
        seen = result.replication
        if seen is not None and seen.role is Role.PRIMARY:
            self.trail = self.trail.with_sample(result.asked_at, seen.offset)

    def restart_timers(self, now: float) -> None:
        for node, history in self.histories.items():
            self.histories[node] = history_restart_timers(history, now)

    def judge(
        self, now: float, settings: HealthSettings, *, is_tilted: bool, nodes: Iterable[Address] | None = None
    ) -> None:
        """Renew the verdicts of these nodes, or of all; one whose state stays is kept, with its reason and time."""
        if nodes is None:
            self.judged_at = now
        for node in self.histories if nodes is None else nodes:
            judged = judge(self._question(node, now, settings, is_tilted=is_tilted), settings)
            before = self.verdicts.get(node)
            if before is None or (before.state, before.cause) != (judged.state, judged.cause):
                self.verdicts[node] = Verdict(judged.state, judged.reason, now, judged.cause)
        primary = self.record.primary
        verdict = self.verdicts.get(primary) if primary else None
        refusals = self.histories[primary].refusals if primary in self.histories else 0
        self.is_suspect = verdict is None or verdict.state is not NodeState.UP or self._is_young
        self.is_refused = 0 < refusals <= MANY_REFUSALS
        self.looks_down = verdict is not None and verdict.state in LOOKS_DOWN
        self.has_manager = any(history.manager is not None for history in self.histories.values())

    def plan(self, settings: HealthSettings, max_staleness: float | None) -> float:
        """Find out when time alone may change what was judged last, and note it."""
        self.due_at = min(self._moments(self.judged_at, settings, max_staleness), default=math.inf)
        return self.due_at

    def _moments(self, after: float, settings: HealthSettings, max_staleness: float | None) -> Iterator[float]:
        for node, history in self.histories.items():
            is_primary = node == self.record.primary
            role = Role.PRIMARY if is_primary else Role.REPLICA
            yield next_change(history, role, after, settings)
            if not is_primary and max_staleness is not None and history.replication is not None:
                reached = self.trail.reached_at(history.replication.offset)
                if reached is not None and reached + max_staleness > after:
                    yield reached + max_staleness + SURE
        if self.is_suspect:
            yield from (moment + SURE for moment in self._witness_moments() if moment + SURE > after)

    def _witness_moments(self) -> Iterator[float]:
        """When a replica's statement stops to count, or begins to; and how long an absent manager is feared."""
        primary = self.histories.get(self.record.primary) if self.record.primary else None
        for history in self.histories.values():
            if history.replication_at is not None:
                yield history.replication_at + FRESH
            if primary is not None and history.replication is not None:
                yield primary.heard_at + (history.replication.link_down_for or 0) - LINK_MARGIN
            if history.manager is not None and history.surveyed_at is not None:
                yield history.surveyed_at + MEMORY

    def _question(
        self, node: Address, now: float, settings: HealthSettings, *, is_tilted: bool
    ) -> Question:
        if node != self.record.primary:
            return Question(self.histories[node], Role.REPLICA, now, is_tilted=is_tilted)
        return Question(
            self.histories[node],
            Role.PRIMARY,
            now,
            [] if self._just_answered(node, now, settings) else list(self._witnesses(node, now)),
            expected_witnesses=len(self.histories) - 1,
            is_tilted=is_tilted,
        )

    def _just_answered(self, node: Address, now: float, settings: HealthSettings) -> bool:
        """Nobody has to be asked about it."""
        history = self.histories[node]
        last = history.last
        return last is not None and last.outcome is Outcome.PONG and now - last.at < settings.suspect_after

    @property
    def _is_young(self) -> bool:
        """Right after roles have changed more can be lost than later: it is not yet known who has what."""
        known = {node for node, _ in self.record.processes}
        new = (node for node in self.record.joined if node != self.record.primary and node not in known)
        return any((verdict := self.verdicts.get(node)) is not None and verdict.is_answering for node in new)

    def health(self, node: Address, now: float) -> NodeHealth:
        """What others are shown of a node."""
        history, verdict = self.histories[node], self.verdicts[node]
        shown = NodeHealth(
            verdict,
            history.replication,
            history.server,
            self._manager(history, now, is_answering=verdict.is_answering),
            is_surveyed=history.is_surveyed,
            epoch=self.record.epoch,
        )
        primary, seen = self._primary_replication, history.replication
        if primary is None:
            return shown
        if node == self.record.primary:
            return replace(shown, strangers=self._attached(primary).strangers)
        if seen is None:
            return shown
        is_same = seen.role is Role.REPLICA and seen.lineage.replid == primary.lineage.replid
        return replace(
            shown,
            synced_at=self.trail.reached_at(seen.offset) if is_same and not seen.is_syncing else None,
            is_current=verdict.is_answering and self._why_not_current(history, primary) is None,
            seen_as=self._attached(primary).seen_as.get(node),
        )

    def _manager(self, history: History, now: float, *, is_answering: bool) -> str | None:
        if history.manager is None:
            return None
        living = (
            other for node, other in self.histories.items() if (v := self.verdicts.get(node)) and v.is_answering
        )
        return manager_in_force(history, living, now, is_answering=is_answering)

    def _why_not_current(self, history: History, primary: Replication) -> str | None:
        seen = history.replication
        at = history.replication_at or 0.0
        behind = self.trail.behind_for(seen.offset, at) if seen is not None else 0.0
        return why_not_readable(seen, primary, behind, CURRENT_WITHIN)

    @property
    def _primary_replication(self) -> Replication | None:
        """What the primary last said, if it says it is one."""
        history = self.histories.get(self.record.primary) if self.record.primary else None
        seen = history.replication if history is not None else None
        return seen if seen is not None and seen.role is Role.PRIMARY else None

    def _attached(self, primary: Replication) -> Attachment:
        listed = tuple(replica.address for replica in primary.attached)
        members = tuple(self._member(node, primary) for node in self.histories if node != self.record.primary)
        if self._listed != (listed, members):
            self._listed, self._attachment = (listed, members), attachment(listed, members)
        return self._attachment

    def _member(self, node: Address, primary: Replication) -> Member:
        history = self.histories[node]
        seen = history.replication
        is_in_sync = (
            seen is not None
            and seen.is_link_up
            and seen.lineage.replid == primary.lineage.replid
            and (seen.follows == self.record.primary or seen.follows not in self.histories)
        )
        return Member(node, history.peer, history.announced, is_in_sync)

    def readable(self, max_staleness: float | None, now: float) -> frozenset[Address]:
        """The replicas that reads may go to."""
        primary = self.histories.get(self.record.primary) if self.record.primary else None
        seen_primary = primary.replication if primary else None
        found = set()
        for node in self.record.replicas:
            seen, verdict = self.histories[node].replication, self.verdicts.get(node)
            age = self.trail.age(seen.offset, now) if seen else None
            why_not = why_not_readable(seen, seen_primary, age, max_staleness)
            if why_not is None and verdict is not None and verdict.is_answering:
                found.add(node)
        return frozenset(found)

    def _witnesses(self, primary: Address, now: float) -> Iterator[Witness]:
        whom = Whom(primary, self.histories, self.record.lineage)
        for node in self.histories:
            if node != primary:
                witness = replica_witness(node, whom, now)
                if witness is not None:
                    yield witness
