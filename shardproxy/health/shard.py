"""What is known of one shard's nodes, and the verdicts that follow. Knows nothing of tasks and sockets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from shardproxy.health.detector import Question, judge
from shardproxy.health.history import (
    History,
    history_accept,
    history_observe,
    history_restart_timers,
    history_start,
)
from shardproxy.health.outcome import ProbeResult
from shardproxy.health.settings import HealthSettings
from shardproxy.health.staleness import OffsetTrail, why_not_readable
from shardproxy.health.witness import Witness, replica_witness
from shardproxy.model import Address
from shardproxy.model.health import NodeHealth, NodeState, Verdict
from shardproxy.model.replication import Role
from shardproxy.store.record import ShardRecord

MANY_REFUSALS = 20  # in a row: whoever had to notice has noticed
LOOKS_DOWN = frozenset({NodeState.SUSPECT, NodeState.CUT_OFF, NodeState.DOWN})


@dataclass(slots=True)
class ShardHealth:
    """One shard: its record, and a history and a verdict for each of its nodes."""

    record: ShardRecord
    histories: dict[Address, History] = field(default_factory=dict)
    verdicts: dict[Address, Verdict] = field(default_factory=dict)
    trail: OffsetTrail = field(default_factory=OffsetTrail)

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

    def observe(self, node: Address, result: ProbeResult) -> None:
        """Add what came of a question; a node that is no member any more is ignored."""
        if node not in self.histories:
            return
        self.histories[node] = history_observe(self.histories[node], result)
        seen = result.replication
        if node == self.record.primary and seen is not None and seen.role is Role.PRIMARY:
            self.trail = self.trail.with_sample(result.asked_at, seen.offset)

    def restart_timers(self, now: float) -> None:
        for node, history in self.histories.items():
            self.histories[node] = history_restart_timers(history, now)

    def judge(self, now: float, settings: HealthSettings, *, is_tilted: bool) -> None:
        """Renew every verdict; one whose state stays is kept, with its reason and time."""
        for node, history in self.histories.items():
            is_primary = node == self.record.primary
            witnesses = list(self._witnesses(history, now)) if is_primary else []
            question = Question(
                history,
                Role.PRIMARY if is_primary else Role.REPLICA,
                now,
                witnesses,
                expected_witnesses=len(self.histories) - 1 if is_primary else 0,
                is_tilted=is_tilted,
            )
            judged, before = judge(question, settings), self.verdicts.get(node)
            if before is None or (before.state, before.cause) != (judged.state, judged.cause):
                self.verdicts[node] = Verdict(judged.state, judged.reason, now, judged.cause)

    @property
    def is_suspect(self) -> bool:
        """Look closer: there is no primary, it is not simply up, or a replica's part is not on record yet."""
        verdict = self.verdicts.get(self.record.primary) if self.record.primary else None
        return verdict is None or verdict.state is not NodeState.UP or self._is_young

    @property
    def _is_young(self) -> bool:
        """Right after roles have changed more can be lost than later: it is not yet known who has what."""
        known = {node for node, _ in self.record.processes}
        new = (node for node in self.record.joined if node != self.record.primary and node not in known)
        return any((verdict := self.verdicts.get(node)) is not None and verdict.is_answering for node in new)

    @property
    def is_refused(self) -> bool:
        """Its primary began to refuse connections a moment ago."""
        primary = self.histories.get(self.record.primary) if self.record.primary else None
        return primary is not None and 0 < primary.refusals <= MANY_REFUSALS

    @property
    def looks_down(self) -> bool:
        """Its primary is silent, or worse."""
        verdict = self.verdicts.get(self.record.primary) if self.record.primary else None
        return verdict is not None and verdict.state in LOOKS_DOWN

    def health(self, node: Address) -> NodeHealth:
        """What others are shown of a node."""
        history = self.histories[node]
        return NodeHealth(
            self.verdicts[node],
            history.replication,
            history.server,
            history.manager,
            is_surveyed=history.is_surveyed,
            epoch=self.record.epoch,
        )

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

    def _witnesses(self, primary: History, now: float) -> Iterable[Witness]:
        for node, history in self.histories.items():
            if node != self.record.primary:
                witness = replica_witness(node, history, primary, now)
                if witness is not None:
                    yield witness
