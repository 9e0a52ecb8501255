"""What is known of one shard's nodes, and the verdicts that follow. Knows nothing of tasks and sockets."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from shardproxy.health.attached import NOBODY, Attachment, Member, attachment
from shardproxy.health.detector import SURE, Question, busy_with, judge, next_change, suspect_after
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
from shardproxy.model.health import ANSWERING, NO_STANDING, NodeHealth, NodeState, Standing, Verdict
from shardproxy.model.replication import Replication, Role
from shardproxy.store.record import ShardRecord

ROLE_GRACE = 0.5  # seconds: the others answer within milliseconds, or not at all
MANY_REFUSALS = 20  # in a row: whoever had to notice has noticed
READABLE = ANSWERING - {NodeState.BUSY}
LOOKS_DOWN = frozenset({NodeState.SUSPECT, NodeState.CUT_OFF, NodeState.DOWN})


def no_standing(node: Address) -> Standing:
    return NO_STANDING


class News(enum.Enum):
    """What a result brought."""

    NONE = enum.auto()
    FIGURES = enum.auto()  # of that node, such as its offset; no verdict changes
    MAYBE = enum.auto()  # the shard has to be judged


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
    is_suspect: bool = (
        True  # look closer: no primary, not simply up, or a replica's part is not on record yet
    )
    is_refused: bool = False  # its primary began to refuse connections a moment ago
    looks_down: bool = False  # its primary is silent, or worse
    standing_of: Callable[[Address], Standing] = no_standing  # with those who send a node requests
    busy: tuple[Address, ...] = ()  # nodes that are
    explained: dict[Address, float] = field(default_factory=dict)  # when a node's silence last was
    has_manager: bool = False  # somebody else manages a node, or did when that was last asked
    _beats: dict[Address, tuple[float, float]] = field(default_factory=dict)  # not in the histories yet
    _attachment: Attachment | None = None  # None = to be worked out anew

    def update(self, record: ShardRecord, now: float) -> None:
        """Take a newer record: other members, other roles."""
        self._settle()
        before, self.record = self.record, record
        for gone in set(self.histories) - set(record.nodes):
            del self.histories[gone]
            self.verdicts.pop(gone, None)
            self.explained.pop(gone, None)
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
        self._attachment = None
        if has_new_roles:
            self.trail = OffsetTrail()

    def beat(self, node: Address, asked_at: float, at: float) -> bool:
        """Take a sign of life that came as usual and brought no facts; False when it has to be looked at."""
        history, verdict = self.histories.get(node), self.verdicts.get(node)
        if history is None or history.last is None or verdict is None:
            return False
        if verdict.state is not NodeState.UP or history.last.outcome is not Outcome.PONG:
            return False
        if asked_at < history.since:
            return False
        self._beats[node] = asked_at, at
        return True

    def observe(self, node: Address, result: ProbeResult) -> News:
        """Add what came of a question; a node that is no member any more is ignored."""
        is_beat = result.outcome is Outcome.PONG and result.replication is None and not result.is_surveyed
        if is_beat and self.beat(node, result.asked_at, result.at):
            return News.NONE
        history = self.histories.get(node)
        if history is None:
            return News.NONE
        if result.outcome is Outcome.PONG:
            self._beats.pop(node, None)  # a later sign of life takes its place
        elif self._beats:
            self._settle()
            history = self.histories[node]
        now = self.histories[node] = history_observe(history, result)
        is_primary = node == self.record.primary
        if is_primary and now.replication is not history.replication:
            self._sample(result)
        verdict = self.verdicts.get(node)
        if (
            verdict is None
            or verdict.state is not NodeState.UP
            or history.last is None
            or not history.last.outcome is result.outcome is Outcome.PONG
            or now.replication != history.replication
            or now.server != history.server
            or now.manager != history.manager
            or now.limits != history.limits
            or (self.is_suspect and not is_primary)
        ):
            self._attachment = None
            return News.MAYBE
        if is_primary:
            self._attachment = None
        return News.FIGURES

    def _settle(self) -> None:
        for node, (asked_at, at) in self._beats.items():
            if node in self.histories:
                self.histories[node] = history_beat(self.histories[node], asked_at, at)
        self._beats.clear()

    def _sample(self, result: ProbeResult) -> None:
        seen = result.replication
        if seen is not None and seen.role is Role.PRIMARY:
            self.trail = self.trail.with_sample(result.asked_at, seen.offset)

    def restart_timers(self, now: float) -> None:
        self._settle()
        for node, history in self.histories.items():
            self.histories[node] = history_restart_timers(history, now)

    def judge(self, now: float, settings: HealthSettings, *, is_tilted: bool) -> None:
        """Renew every verdict; one whose state stays is kept, with its reason and time."""
        self._settle()
        self.judged_at = now
        for node in self.histories:
            question = self._question(node, now, settings, is_tilted=is_tilted)
            if question.standing.busy is not None and busy_with(question, settings) is not None:
                self.explained[node] = now
            judged = judge(question, settings)
            before = self.verdicts.get(node)
            if before is None or (before.state, before.cause) != (judged.state, judged.cause):
                self.verdicts[node] = Verdict(judged.state, judged.reason, now, judged.cause)
        self.busy = tuple(node for node, v in self.verdicts.items() if v.state is NodeState.BUSY)
        primary = self.record.primary
        verdict = self.verdicts.get(primary) if primary else None
        refusals = self.histories[primary].refusals if primary in self.histories else 0
        self.is_suspect = verdict is None or verdict.state is not NodeState.UP or self._is_young
        self.is_refused = 0 < refusals <= MANY_REFUSALS
        is_explained = primary is not None and self.explained.get(primary) == now
        self.looks_down = verdict is not None and verdict.state in LOOKS_DOWN and not is_explained
        self.has_manager = any(history.manager is not None for history in self.histories.values())

    def plan(self, settings: HealthSettings, max_staleness: float | None) -> float:
        """Find out when time alone may change what was judged last, and note it."""
        self.due_at = min(self._moments(self.judged_at, settings, max_staleness), default=math.inf)
        return self.due_at

    def _moments(
        self, after: float, settings: HealthSettings, max_staleness: float | None
    ) -> Iterator[float]:
        for node, history in self.histories.items():
            is_primary = node == self.record.primary
            role = Role.PRIMARY if is_primary else Role.REPLICA
            verdict = self.verdicts.get(node)
            if (
                verdict is not None and verdict.state is NodeState.UP
            ):  # what comes first is that it looks silent
                _, beat_at = self._beats.get(node, (0.0, 0.0))
                yield max(history.heard_at, beat_at) + suspect_after(role, settings) + SURE
            else:
                yield next_change(history, role, after, settings, self._explained_until(node, after))
            if not is_primary and max_staleness is not None and history.replication is not None:
                reached = self.trail.reached_at(history.replication.offset)
                if reached is not None and reached + max_staleness > after:
                    yield reached + max_staleness + SURE
        if self.is_suspect:
            yield from (moment + SURE for moment in self._witness_moments() if moment + SURE > after)

    def _explained_until(self, node: Address, after: float) -> float:
        """What explained a node's silence when that was judged is asked for again at once."""
        explained_at = self.explained.get(node, -math.inf)
        return max(explained_at, after + SURE) if explained_at == self.judged_at else explained_at

    def _witness_moments(self) -> Iterator[float]:
        """When a replica's statement stops or begins to count; and how long an absent manager is feared."""
        primary = self.histories.get(self.record.primary) if self.record.primary else None
        for history in self.histories.values():
            if history.replication_at is not None:
                yield history.replication_at + FRESH
            if primary is not None and history.replication is not None:
                yield primary.heard_at + (history.replication.link_down_for or 0) - LINK_MARGIN
            if history.manager is not None and history.surveyed_at is not None:
                yield history.surveyed_at + MEMORY
            if history.role_since is not None:
                yield history.role_since + ROLE_GRACE

    def _question(self, node: Address, now: float, settings: HealthSettings, *, is_tilted: bool) -> Question:
        standing, explained_at = self._standing(node, now, settings), self.explained.get(node, -math.inf)
        if node != self.record.primary:
            return Question(
                self.histories[node],
                Role.REPLICA,
                now,
                is_tilted=is_tilted,
                standing=standing,
                explained_at=explained_at,
            )
        return Question(
            self.histories[node],
            Role.PRIMARY,
            now,
            [] if self._just_answered(node, now, settings) else list(self._witnesses(node, now)),
            expected_witnesses=len(self.histories) - 1,
            is_tilted=is_tilted,
            standing=standing,
            explained_at=explained_at,
            is_early=self._is_early(node, now),
        )

    def _standing(self, node: Address, now: float, settings: HealthSettings) -> Standing:
        """Asked only of one that is silent, or says that it is busy."""
        history = self.histories[node]
        is_silent = history.silent_for(now) >= settings.suspect_after
        is_silent |= history.last is not None and history.last.outcome is Outcome.BUSY
        return self.standing_of(node) if is_silent else NO_STANDING

    def _is_early(self, primary: Address, now: float) -> bool:
        """One that hands over says so before its successor can have been asked: they are asked first."""
        since = self.histories[primary].role_since
        if since is None or now - since >= ROLE_GRACE:
            return False
        others = (node for node, verdict in self.verdicts.items() if node != primary and verdict.is_answering)
        return any(
            (last := self.histories[node].last) is not None and last.asked_at < since for node in others
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
        seen, primary = history.replication, self._primary_replication
        is_answering = verdict.is_answering
        is_primary = node == self.record.primary
        synced_at, is_current = None, False
        if seen is not None and primary is not None and not is_primary:
            is_same = seen.role is Role.REPLICA and seen.lineage.replid == primary.lineage.replid
            synced_at = self.trail.reached_at(seen.offset) if is_same and not seen.is_syncing else None
            is_current = is_answering and self._why_not_current(history, primary) is None
        return NodeHealth(
            verdict,
            seen,
            history.server,
            None if history.manager is None else self._manager(history, now, is_answering=is_answering),
            is_surveyed=history.is_surveyed,
            epoch=self.record.epoch,
            limits=history.limits,
            synced_at=synced_at,
            is_current=is_current,
            seen_as=None if is_primary else self._attached.seen_as.get(node),
            strangers=self._attached.strangers if is_primary else (),
        )

    def _manager(self, history: History, now: float, *, is_answering: bool) -> str | None:
        living = (self.histories[other] for other, verdict in self.verdicts.items() if verdict.is_answering)
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

    @property
    def _attached(self) -> Attachment:
        if self._attachment is None:
            self._attachment = self._attach(self._primary_replication)
        return self._attachment

    def _attach(self, primary: Replication | None) -> Attachment:
        if primary is None:
            return NOBODY
        listed = tuple(replica.address for replica in primary.attached)
        members = (self._member(node, primary) for node in self.histories if node != self.record.primary)
        return attachment(listed, members)

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
            server = self.histories[node].server
            is_foreign = server is not None and server.is_clustered and not _is_clustered(primary)
            if why_not is None and verdict is not None and verdict.state in READABLE and not is_foreign:
                found.add(node)
        return frozenset(found)

    def _witnesses(self, primary: Address, now: float) -> Iterator[Witness]:
        whom = Whom(primary, self.histories, self.record.lineage)
        for node in self.histories:
            if node != primary:
                witness = replica_witness(node, whom, now)
                if witness is not None:
                    yield witness


def _is_clustered(history: History | None) -> bool:
    """Whether a node was seen to run in cluster mode."""
    return history is not None and history.server is not None and history.server.is_clustered
