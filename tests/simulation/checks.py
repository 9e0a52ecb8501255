"""The invariants of failover, checked as things happen. Each complaint names the one that broke.

I1 one promoted node per epoch      I5 the promoted node has the last primary's history
I2 no old reply becomes an ack      I7 store down, no topology change
I3 epochs never go down             I8 no change of primary without a reason
I4 acknowledged writes survive      I6 no write is carried out twice
                                    I9 an empty restarted primary wipes nobody
DATA   nobody is made to follow a node that lacks something of value it has, nor itself
QUIET  no command of ours while we may not act     LEASE  none without a lease that lasts
OLD    without `wait`, nobody that lost sync long ago is promoted, nor vouches for anything
FIT    nobody that may not be a primary is made one, nor is a shard handed over to a node the config has not
STRICT once a node is promoted, no member of its store, which was waited for or may be, acknowledges a write
       of the last primary that no replica confirms
LATE   what an operator asked for does not happen after its deadline
SLOT, MOVE  of a slot that moves: moves.py
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from shardproxy.model import Address
from shardproxy.model.replication import ShardKey
from shardproxy.store.record import ShardRecord, ShardState
from tests.simulation.engine import SimEngine


@dataclass
class History:
    """What happened to one shard, over all proxies."""

    records: list[ShardRecord] = field(default_factory=list)  # of who decides, in order
    log: list[int] | None = None  # of the last primary that was served
    run_id: str = ""  # and its process
    acked: dict[int, tuple[float, int]] = field(default_factory=dict)  # when, and with what `wait`
    given_up: set[int] = field(default_factory=set)  # acknowledged without `wait`, and lost by a failover
    precious: dict[int, str] = field(default_factory=dict)  # written by others: to which process


@dataclass
class Checks:
    """What has been seen, and what was wrong with it."""

    complaints: list[str] = field(default_factory=list)
    histories: dict[ShardKey, History] = field(default_factory=dict)
    keys: dict[Address, ShardKey] = field(default_factory=dict)  # whose node an engine is
    served_epochs: dict[tuple[str, ShardKey], int] = field(default_factory=dict)
    sent: set[int] = field(default_factory=set)
    is_store_down: bool = False
    is_strict: bool = True  # promotions wait for all proxies
    refused: int = 0  # writes, unsent
    promoted: dict[ShardKey, int] = field(default_factory=dict)  # the last epoch that made a node primary
    is_meddled: bool = False  # somebody else changed roles: what they lose is not ours to keep
    oldest: float = 16.0  # seconds of acknowledged writes, without `wait`, that a failover may lose
    why_change: Callable[[ShardKey, Address], str | None] = lambda key, primary: "nobody watches"
    is_asked_for: Callable[[ShardKey], bool] = lambda key: True
    is_configured: Callable[[ShardKey, Address], bool] = lambda key, node: True
    is_acknowledged: Callable[[int], None] = lambda value: None  # told of each
    trace: list[str] = field(default_factory=list)

    def of(self, key: ShardKey) -> History:
        return self.histories.setdefault(key, History())

    def note(self, what: str) -> None:
        self.trace.append(f"{trio.current_time():9.3f} {what}")

    def complain(self, what: str) -> None:
        self.note(what)
        self.complaints.append(what)

    # Records and who serves them

    def stored(self, record: ShardRecord, group: str, primary: SimEngine | None) -> None:
        """A record was stored by who decides."""
        roles = f"primary={record.primary} target={record.target}"
        vouching = ",".join(str(node.port) for node in sorted(record.promise.voters))
        pending = f" pending={len(record.pending)}" if record.pending else ""
        vouch = f"wait={record.wait} of {vouching or 'nobody'}{pending}"
        self.note(f"{group} {record.key} stored epoch {record.epoch} {record.state.value} {roles} {vouch}")
        history = self.of(record.key)
        before = history.records[-1] if history.records else None
        if before is not None and record.epoch < before.epoch:
            self.complain(f"I3: epoch {record.epoch} stored after {before.epoch}")
        if self.is_store_down:
            self.complain("I7: a record changed while the store was down")
        if before is not None and before.primary is not None and _is_replaced(before, record):
            why = self.why_change(record.key, before.primary)
            self.note(f"because: {why}")
            if why is None:
                self.complain(f"I8: {before.primary} was replaced without a reason")
        if record.state is ShardState.SWITCHING and not self.is_asked_for(record.key):
            self.complain(f"LATE: {record.key} is switched over, and nobody waits for that any more")
        handed_to = record.target if record.state is ShardState.SWITCHING else None
        if handed_to is not None and not self.is_configured(record.key, handed_to):
            self.complain(f"FIT: {record.key} is handed over to {handed_to}, which the config has not")
        if primary is not None and (before is None or before.primary != record.primary):
            self._give_up(history, primary, by_hand=record.target != record.primary)
            if _is_new(before, record) and primary.priority == 0:
                self.complain(f"FIT: {primary.address} is made the primary, and its priority is 0")
        history.records.append(record)

    def served(self, record: ShardRecord, proxy: str, primary: SimEngine | None, *, decides: bool) -> None:
        """A proxy serves a record."""
        self.note(f"{proxy} {record.key} serves epoch {record.epoch} primary={record.primary}")
        epoch = self.served_epochs.get((proxy, record.key), 0)
        if record.epoch < epoch:
            self.complain(f"I3: {proxy} went from epoch {epoch} to {record.epoch}")
        self.served_epochs[proxy, record.key] = max(epoch, record.epoch)
        history = self.of(record.key)
        if decides and primary is not None and primary.run_id == record.run_id:
            history.log, history.run_id = primary.log, primary.run_id

    # Commands

    def promotion(self, engine: SimEngine, *, is_blind: bool) -> None:
        """Our REPLICAOF NO ONE is carried out: much later than it was sent, by an engine that was busy."""
        history = self.of(self.keys[engine.address])
        records = history.records
        epoch = records[-1].epoch if records else 0
        self.note(f"promoted {engine.address} in epoch {epoch}")
        self.promoted[self.keys[engine.address]] = epoch
        if is_blind and records[-1].target != engine.address:
            self.complain(f"I7: {engine.address} was promoted while the store was down")
        targets = {record.target for record in records if record.epoch == epoch} - {None}
        if len(targets) > 1:
            self.complain(f"I1: epoch {epoch} promotes {sorted(map(str, targets))}")
        ports = {record.target.port for record in records if _is_promoting(record) and record.target}
        if engine.address.port not in ports:
            self.complain(f"I1: {engine.address} promoted, but no epoch has it as its target")
        self._has_history(history, engine)
        self._is_recent(history, engine)

    def handover(self, target: SimEngine) -> None:
        self.note(f"handed over to {target.address}")
        self._has_history(self.of(self.keys[target.address]), target)

    def _has_history(self, history: History, engine: SimEngine) -> None:
        if self.is_meddled or history.log is None:
            return
        if engine.log != history.log[: len(engine.log)]:
            self.complain(f"I5: {engine.address} was promoted with another history")

    def _is_recent(self, history: History, engine: SimEngine) -> None:
        """What is given up is not older than promised."""
        has = set(engine.log)
        last = max((at for at, _ in history.acked.values()), default=0.0)
        lost = [at for v, (at, wait) in history.acked.items() if not wait and v not in has]
        lost = [at for at in lost if last - at > self.oldest] if not self.is_meddled else []
        if lost:
            self.complain(f"OLD: {engine.address} promoted, which lost sync {last - min(lost):.1f} s before")

    def pointed(self, node: SimEngine, primary: SimEngine) -> None:
        """Our REPLICAOF to another node is carried out."""
        self.note(f"{node.address} told to follow {primary.address}")
        if node is primary:
            self.complain(f"DATA: {node.address} was told to follow itself")
        history = self.of(self.keys[node.address])
        lost = self._of_value(history, node) - set(primary.log)
        if lost:
            what = f"{len(lost)} writes ({sorted(lost)[:5]})"
            self.complain(f"DATA: {node.address} gives up {what} that {primary.address} lacks")

    def _of_value(self, history: History, node: SimEngine) -> set[int]:
        """One that restarted as a replica cannot be told from one that was a replica all the time."""
        by_hand = {value for value, run_id in history.precious.items() if run_id == node.run_id}
        return set(node.log) & ((history.acked.keys() | by_hand) - history.given_up)

    def _give_up(self, history: History, primary: SimEngine, *, by_hand: bool) -> None:
        """Without `wait` a failover may lose writes; whom others made the primary may lack any."""
        is_theirs = by_hand and self.is_meddled
        has = set(primary.log)
        history.given_up |= {
            v for v, (_, wait) in history.acked.items() if (is_theirs or not wait) and v not in has
        }

    def sync(self, replica: SimEngine, primary: SimEngine) -> None:
        """A replica connects to a primary."""
        if replica.log and not primary.log:
            self.complain(f"I9: {replica.address} was wiped by the empty {primary.address}")

    # Writes

    def executed(self, value: int, engine: SimEngine) -> None:
        """A write is carried out."""
        if value in self.sent:
            self.complain(f"I6: write {value} is carried out again, on {engine.address}")
        self.sent.add(value)

    def acknowledged(
        self, key: ShardKey, value: int, epochs: tuple[int, int], wait: int, *, is_stranger: bool
    ) -> None:
        """A client was told that its write is done, sent in one epoch, replied to in another; a stranger is
        not the process on record."""
        if is_stranger:
            self.complain(f"I2: write {value} was acknowledged by a process that restarted")
        if epochs[0] != epochs[1]:
            self.complain(f"I2: a reply of epoch {epochs[0]} acknowledged in epoch {epochs[1]}")
        self.of(key).acked[value] = (trio.current_time(), wait)
        self.is_acknowledged(value)

    def answered(self, key: ShardKey, epoch: int, confirmed: int, proxy: str) -> None:
        """A proxy is about to acknowledge a write of that epoch's primary, which so many replicas have."""
        promoted = self.promoted.get(key, 0)
        if self.is_strict and not self.is_meddled and epoch < promoted and not confirmed:
            self.complain(
                f"STRICT: {proxy} acknowledges a write of epoch {epoch}, and {promoted} has promoted"
            )

    def survived(self, key: ShardKey, log: list[int], primary: Address) -> None:
        """Nothing acknowledged with `wait` may be missing from the primary that is left."""
        acked = {value for value, (_, wait) in self.of(key).acked.items() if wait}
        lost = acked - set(log)
        if lost and not self.is_meddled:
            self.complain(f"I4: {len(lost)} acknowledged writes are not on {primary}: {sorted(lost)[:10]}")


def _is_promoting(record: ShardRecord) -> bool:
    return record.state is ShardState.PROMOTING


def _is_replaced(before: ShardRecord, record: ShardRecord) -> bool:
    """By another node, not by another name."""
    if before.primary is None or record.primary is None:
        return before.primary != record.primary
    return before.primary.port != record.primary.port


def _is_new(before: ShardRecord | None, record: ShardRecord) -> bool:
    """It was promoted, and had not been the primary before, nor is it the first one ever."""
    if before is None or before.lineage is None:
        return False
    return record.primary == record.target and before.last != record.primary
