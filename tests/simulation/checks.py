"""The invariants of failover, checked as things happen. Each complaint names the one that broke.

I1 one promoted node per epoch      I5 the promoted node has the last primary's history
I2 no old reply becomes an ack      I7 store down, no topology change
I3 epochs never go down             I8 no change of primary without a reason
I4 acknowledged writes survive      I6 no write is carried out twice
                                    I9 an empty restarted primary wipes nobody
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from shardproxy.model import Address
from shardproxy.store.record import ShardRecord, ShardState
from tests.simulation.engine import SimEngine


@dataclass
class Checks:
    """What has been seen, and what was wrong with it."""

    complaints: list[str] = field(default_factory=list)
    records: list[ShardRecord] = field(default_factory=list)  # as stored, in order
    served_epoch: int = 0
    history: list[int] | None = None  # the log of the last primary that was served
    acked: list[int] = field(default_factory=list)
    sent: set[int] = field(default_factory=set)
    is_store_down: bool = False
    why_change: Callable[[Address], str | None] = lambda primary: "nobody watches"
    trace: list[str] = field(default_factory=list)

    def note(self, what: str) -> None:
        self.trace.append(f"{trio.current_time():9.3f} {what}")

    def complain(self, what: str) -> None:
        self.note(what)
        self.complaints.append(what)

    def stored(self, record: ShardRecord) -> None:
        roles = f"primary={record.primary} target={record.target}"
        self.note(f"stored epoch {record.epoch} {record.state.value} {roles}")
        if self.records and record.epoch < self.records[-1].epoch:
            self.complain(f"I3: epoch {record.epoch} stored after {self.records[-1].epoch}")
        if self.is_store_down:
            self.complain("I7: a record changed while the store was down")
        before = self.records[-1] if self.records else None
        if before is not None and before.primary is not None and before.primary != record.primary:
            why = self.why_change(before.primary)
            self.note(f"because: {why}")
            if why is None:
                self.complain(f"I8: {before.primary} was replaced without a reason")
        self.records.append(record)

    def promotion(self, engine: SimEngine) -> None:
        """REPLICAOF NO ONE is carried out."""
        epoch = self.records[-1].epoch if self.records else 0
        self.note(f"promoted {engine.address} in epoch {epoch}")
        if self.is_store_down and self.records[-1].target != engine.address:
            self.complain(f"I7: {engine.address} was promoted while the store was down")
        targets = {record.target for record in self.records if record.epoch == epoch} - {None}
        if len(targets) > 1:
            self.complain(f"I1: epoch {epoch} promotes {sorted(map(str, targets))}")
        if not any(
            record.target == engine.address and record.state is ShardState.PROMOTING
            for record in self.records
        ):
            self.complain(f"I1: {engine.address} promoted, but no epoch has it as its target")
        self._has_history(engine)

    def handover(self, target: SimEngine) -> None:
        self.note(f"handed over to {target.address}")
        self._has_history(target)

    def _has_history(self, engine: SimEngine) -> None:
        if self.history is not None and engine.log != self.history[: len(engine.log)]:
            self.complain(f"I5: {engine.address} was promoted with another history")

    def sync(self, replica: SimEngine, primary: SimEngine) -> None:
        """A replica connects to a primary."""
        if replica.log and not primary.log:
            self.complain(f"I9: {replica.address} was wiped by the empty {primary.address}")

    def served(self, record: ShardRecord, primary: SimEngine | None) -> None:
        """A proxy serves a record."""
        self.note(f"serves epoch {record.epoch} primary={record.primary}")
        if record.epoch < self.served_epoch:
            self.complain(f"I3: a proxy went from epoch {self.served_epoch} to {record.epoch}")
        self.served_epoch = max(self.served_epoch, record.epoch)
        if primary is not None and primary.run_id == record.run_id:
            self.history = primary.log

    def executed(self, value: int, engine: SimEngine) -> None:
        """A write is carried out."""
        if value in self.sent:
            self.complain(f"I6: write {value} is carried out again, on {engine.address}")
        self.sent.add(value)

    def acknowledged(self, value: int, sent_epoch: int, epoch: int, *, is_stranger: bool) -> None:
        """A client was told that its write is done; a stranger is not the process on record."""
        if is_stranger:
            self.complain(f"I2: write {value} was acknowledged by a process that restarted")
        if sent_epoch != epoch:
            self.complain(f"I2: a reply of epoch {sent_epoch} acknowledged in epoch {epoch}")
        self.acked.append(value)

    def survived(self, log: list[int], primary: Address) -> None:
        """Nothing acknowledged may be missing from the primary that is left."""
        lost = set(self.acked) - set(log)
        if lost:
            self.complain(f"I4: {len(lost)} acknowledged writes are not on {primary}: {sorted(lost)[:10]}")
