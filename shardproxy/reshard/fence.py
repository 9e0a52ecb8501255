"""FENCE and PUBLISH: hold the slots everywhere, have the target get the rest, give it the slots.

hold on record ─> every proxy holds ─> source's offset ─> copier there, and rests ─┬─> verified ─────────┐
    └─ too slow, or anything fails: the hold goes, and nothing has happened        └─> replicas have it ─┤
                       both records at once <─┬─ the copier has ended <──────────────────────────────────┤
                                              └─ the target was not flushed <────────────────────────────┘

Nobody but clients writes to who owns the slots: a copier that followed on would take away what expires at the
source and has been renewed at the target.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

import structlog
import trio

from shardproxy.failover.interfaces import FenceError, NotSettledError, SlotDesk
from shardproxy.failover.sealing import SealError, seals_check, seals_put
from shardproxy.model import Address, Hold
from shardproxy.model.replication import Role
from shardproxy.model.slots import slots_added, slots_common, slots_count, slots_removed
from shardproxy.model.together import together
from shardproxy.nodes import NodeError, NodeFailure
from shardproxy.replication.interface import Copier, CopyDiffersError, CopyError, CopyPhase
from shardproxy.reshard.flushes import Flushes, flushes_of, why_evicted
from shardproxy.reshard.layout import Move
from shardproxy.reshard.parts import Engines
from shardproxy.reshard.replicas import replicas_wait
from shardproxy.store.interface import StoreUnavailableError
from shardproxy.store.record import ShardRecord
from shardproxy.wire.info import InfoError, read_fields, read_replication

LET_GO_WITHIN = 1.0  # seconds, also when all ends: a hold that stays is dropped by the next leader
ANSWERED = 0.8  # of what is left: it is known that replicas are late before we are
RETRY = 0.1  # seconds between tries to let go

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class FenceSettings:
    """Times in seconds."""

    within: float = 0.2  # all is done by then, or clients wait no longer
    slowest: float = 0.1  # the store at its last write: two more of them are waited for under the hold
    tries: int = 10
    backoff: float = 0.2  # until the second try; doubled each time
    longest: float = 5.0  # until any


class NotFencedError(Exception):
    """It was given up, and the source owns the slots as before. Try again."""


class DifferentError(Exception):
    """What the target has is not what the source has. Do not publish."""


class ChangedError(Exception):
    """The target, or who leads the source, is another one than what was copied."""


class EvictedError(Exception):
    """The target does not keep what is put there. Do not publish, and do not try again."""


class SpentError(Exception):
    """The copier has ended, and it may have been published: the records say so, and nothing else does."""


Identity = tuple[Address | None, str, int]


def identity_of(record: ShardRecord) -> Identity:
    """Which dataset a shard serves: another process, or one promoted anew, may lack what was put there."""
    return record.primary, record.run_id, record.epoch


@dataclass(frozen=True, slots=True)
class Fence:
    """One move's."""

    desk: SlotDesk
    engines: Engines
    move: Move
    copier: Copier
    target: Identity  # that was copied to
    flushes: Flushes  # of it, before anything was
    settings: FenceSettings
    laps: dict[str, float] = field(default_factory=dict)  # of the last attempt, milliseconds since it began

    async def attempt(self) -> float:
        """Publish, and return how long requests waited, in seconds: from the hold on record until all serve.

        Raise NotFencedError or StoreUnavailableError when nothing has happened, ChangedError or
        DifferentError when nothing has and the copy is worth nothing, EvictedError when another one will not
        be worth more, SpentError when only the records know.
        """
        began = trio.current_time()
        self.laps.clear()
        held = False
        try:
            try:
                await self._seal()
                await self.desk.change({self.move.source: self._held})
                self._lap("recorded", began)
                held, held_at = True, trio.current_time()
                until = held_at + self.settings.within
                with trio.fail_after(self.settings.within):
                    source = await self._transfer(began, until)
            except trio.TooSlowError:
                raise NotFencedError(self._too_slow()) from None
            except CopyDiffersError as error:
                raise DifferentError(str(error)) from error
            except (
                FenceError,
                NotSettledError,
                NodeFailure,
                NodeError,
                InfoError,
                CopyError,
                SealError,
            ) as error:
                raise NotFencedError(str(error)) from error
            await self._publish(source, began, until)
            held = False
            self._lap("published", began)
        finally:
            if held or self.is_held():
                await self._let_go()
        await self._wait_served()
        self._lap("served", began)
        return trio.current_time() - held_at

    async def _publish(self, source: ShardRecord, began: float, until: float) -> None:
        """End the copier, then give the target the slots; raise SpentError, ChangedError or EvictedError."""
        passes = self.copier.status.passes
        await together(self.copier.stop, partial(self._flushed, until))
        self._lap("stopped", began)
        status = self.copier.status
        is_same = status.phase is CopyPhase.FOLLOWING and status.passes == passes and not status.why
        if status.unanswered or not is_same:
            raise SpentError("the target may yet do what the copier sent it last")
        if trio.current_time() > until:
            raise SpentError(self._too_slow())
        try:
            await self.desk.change(
                {
                    self.move.source: lambda record: self._given(record, source),
                    self.move.target: self._taken,
                }
            )
        except (NotSettledError, NotFencedError, ChangedError, StoreUnavailableError) as error:
            raise SpentError(str(error)) from error

    async def _flushed(self, until: float) -> None:
        """Raise ChangedError where the target was emptied, EvictedError, SpentError if it does not say."""
        nodes, (address, run_id, _) = self.engines.nodes, self.target
        assert address is not None
        try:
            flushes = await flushes_of(nodes, address, run_id, within=self._left(until))
        except (NodeFailure, NodeError, InfoError) as error:
            raise SpentError(str(error)) from error
        if (why := why_evicted(address, self.flushes, flushes)) is not None:
            raise EvictedError(why)
        if flushes != self.flushes:
            raise ChangedError(f"{address} of the target was flushed while it was copied to")

    def _too_slow(self) -> str:
        return f"not within {self.settings.within * 1000:.0f} ms"

    def _lap(self, what: str, began: float) -> None:
        self.laps[what] = round((trio.current_time() - began) * 1000, 1)

    async def _transfer(self, began: float, until: float) -> ShardRecord:
        """Everything that the source has been told is at the target, and with its replicas.

        Return the source as it was on record while all of it was held.
        """
        source, target = self.move.source, self.move.target
        giver = self.desk.records[source]
        await self.desk.wait_served([source], within=self._left(until))
        self._lap("held", began)
        offset, replid = await self._offset(giver, until)
        await self.copier.reach(offset, replid, within=self._left(until), rests=True)
        self._lap("reached", began)
        taker = self.desk.records[target]
        if identity_of(taker) != self.target:
            raise ChangedError(f"{taker.primary} of the target is not who was copied to")
        # the copier rests, so neither changes what the other looks at
        await together(partial(self._verify, until), partial(self._replicate, taker, until))
        self._lap("verified", began)
        if identity_of(self.desk.records[source]) != identity_of(giver):
            raise NotFencedError("the source has changed meanwhile")
        return giver

    async def _verify(self, until: float) -> None:
        await self.copier.verify(within=self._left(until))

    async def _replicate(self, taker: ShardRecord, until: float) -> None:
        """Have the target's replicas have it all; raise NotFencedError."""
        address = taker.primary
        assert address is not None  # as it is who was copied to
        wanted = max(taker.promise.wait, 1 if taker.promise.voters else 0)
        within = self._left(until) * ANSWERED
        if not await replicas_wait(self.engines.nodes, address, taker.run_id, wanted, within=within):
            raise NotFencedError(f"{wanted} replicas of {address} are to have it all, and have not")

    async def _seal(self) -> None:
        """Have who knows of no later hold than now find that out: the next one's seal comes under it."""
        source = self.desk.records[self.move.source]
        if source.primary is not None:
            seals = self.desk.seals(source)
            within = self.settings.within
            await seals_put(self.engines.nodes, source.primary, source.run_id, seals, within=within)

    async def _offset(self, record: ShardRecord, until: float) -> tuple[int, str]:
        """How far the source is, and in which history, once all who write there know of the hold.

        Another primary's number would say nothing.
        """
        if record.primary is None:
            raise NotFencedError("the source has no primary now")
        seals = [("SCRIPT", "LOAD", seal) for seal in self.desk.seals(record)]
        *sealed, reply = await self.engines.nodes.request_many(
            record.primary, [*seals, ("INFO", "replication")], timeout=self._left(until), run_id=record.run_id
        )
        seals_check(record.primary, sealed)
        seen = read_replication(read_fields(reply))
        if seen.role is not Role.PRIMARY:
            raise NotFencedError(f"{record.primary} is no primary any more")
        return seen.offset, seen.lineage.replid

    def _left(self, until: float) -> float:
        return max(0.001, until - trio.current_time())

    def _held(self, record: ShardRecord) -> ShardRecord:
        if slots_count(slots_common(record.slots, self.move.slots)) != slots_count(self.move.slots):
            raise ChangedError("the source does not own the slots any more")
        return replace(record, hold=Hold(self.move.slots))

    def _given(self, record: ShardRecord, held: ShardRecord) -> ShardRecord:
        """What the source is without the slots; only if nothing has happened to it under the hold."""
        if record.hold != Hold(self.move.slots) or identity_of(record) != identity_of(held):
            raise NotFencedError("the source has changed meanwhile")
        return replace(record, slots=slots_removed(record.slots, self.move.slots), hold=None)

    def _taken(self, record: ShardRecord) -> ShardRecord:
        if identity_of(record) != self.target:
            raise ChangedError("the target has changed meanwhile")
        return replace(record, slots=slots_added(record.slots, self.move.slots))

    def is_held(self) -> bool:
        return self.desk.records[self.move.source].hold is not None

    async def _let_go(self) -> None:
        """Have requests go on at the source, where it still owns the slots; also when all is cancelled."""
        with trio.move_on_after(LET_GO_WITHIN, shield=True):
            while True:
                try:
                    await hold_drop(self.desk, self.move)
                except (StoreUnavailableError, NotSettledError) as error:
                    log.warning("hold not dropped yet", cluster=self.desk.cluster, why=str(error))
                    await trio.sleep(RETRY)
                else:
                    return

    async def _wait_served(self) -> None:
        """Clients wait until then; whoever does not follow is waited for again before anything is removed."""
        try:
            await self.desk.wait_served([self.move.source, self.move.target], within=LET_GO_WITHIN)
        except FenceError as error:
            log.warning("a proxy does not serve the new owner yet", cluster=self.desk.cluster, why=str(error))


async def hold_drop(desk: SlotDesk, move: Move) -> None:
    """Have nothing of the source wait any more."""
    if desk.records[move.source].hold is not None:
        await desk.change({move.source: lambda record: replace(record, hold=None)})


def is_given_up(desk: SlotDesk, move: Move) -> bool:
    """Whether the source owns the slots, by the records, and nothing waits for them there."""
    source = desk.records[move.source]
    owned = slots_common(source.slots, move.slots)
    return source.hold is None and slots_count(owned) == slots_count(move.slots)


def is_published(desk: SlotDesk, move: Move) -> bool:
    """Whether the target owns the slots, by the records: nothing else counts."""
    owned = slots_common(desk.records[move.target].slots, move.slots)
    return slots_count(owned) == slots_count(move.slots)
