"""Carries one leg from where its memo says to its end, or back.

Every step is on record before anything of it is done, and can be begun again by the next leader.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import structlog
import trio

from shardproxy.failover.interfaces import NotSettledError, SlotDesk
from shardproxy.jobs.interface import Work
from shardproxy.model.replication import ShardKey
from shardproxy.replication.interface import (
    Copier,
    CopyError,
    CopyFault,
    CopyPhase,
    CopyPlan,
    CopyStatus,
    Target,
)
from shardproxy.replication.leases import claim_new, kept, lease_until
from shardproxy.reshard.cleaning import Cleaning
from shardproxy.reshard.fence import (
    ChangedError,
    DifferentError,
    Fence,
    Identity,
    NotFencedError,
    SpentError,
    hold_drop,
    identity_of,
    is_given_up,
    is_published,
)
from shardproxy.reshard.flushes import Flushes, flushes_of
from shardproxy.reshard.functions import FunctionsError, functions_copy
from shardproxy.reshard.lingering import Lingering
from shardproxy.reshard.memo import Leg, Step
from shardproxy.reshard.ownership import why_not_the_sources
from shardproxy.reshard.parts import Engines, Parts, sources_of
from shardproxy.reshard.planning import PlanError, why_not_now
from shardproxy.reshard.race import wait_first
from shardproxy.reshard.settings import OUT_OF_REACH, CarrySettings
from shardproxy.reshard.slots import slots_count
from shardproxy.store.interface import StoreUnavailableError
from shardproxy.store.record import ShardRecord
from shardproxy.wire.info import InfoError

log = structlog.get_logger()


class StoppedError(Exception):
    """The move cannot go on; the source has the slots as before."""


class AbandonedError(Exception):
    """An operator gave it up before anything was published."""


Saved = Callable[[Leg], Awaitable[None]]


@dataclass(slots=True)
class Carrying:
    """One leg. `save` makes it durable."""

    desk: SlotDesk
    work: Work
    parts: Parts
    engines: Engines
    leg: Leg
    save: Saved
    title: str
    rate: int = 0
    settings: CarrySettings = field(default_factory=CarrySettings)
    _why: str = "the target changes again and again"  # the last copy was of no use
    _mixed: Lingering = field(init=False)
    _families: tuple[tuple[str, str], ...] = field(init=False)  # by which this leg tells keys' slots
    _differences: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._mixed = Lingering(self.desk)
        self._families = self.engines.families

    async def run(self) -> Leg:
        """Bring it to its end: DONE or UNDONE, with `why`. Raise LeadershipLostError."""
        while not self.leg.step.is_over:
            match self.leg.step:
                case Step.CLEAN_SOURCE:
                    await self._step(Step.DONE, removed=await self._cleaning().at_source())
                case Step.UNDO:
                    await self._step(Step.UNDONE, why=await self._cleaning().undo())
                case _:
                    await self._bring()
        return self.leg

    def _cleaning(self) -> Cleaning:
        return Cleaning(self.desk, self.engines, self.leg, self._show, self.settings)

    async def _step(self, step: Step, **changes: Any) -> None:
        self.leg = self.leg.at(step, **changes)
        await self._save()

    async def _save(self) -> None:
        """As often as it takes: nothing is done before it is on record."""
        while True:
            try:
                return await self.save(self.leg)
            except StoreUnavailableError as error:
                self._show(f"the store is not available: {error}")
                await trio.sleep(self.settings.retry)

    def _show(self, text: str = "", *, done: int = 0, total: int = 0) -> None:
        stage = self.leg.step.value.replace("_", " ")
        self.work.show(
            stage, what="keys", done=done, total=total, text=f"{self.title}: {text}" if text else self.title
        )

    async def _bring(self) -> None:
        try:
            await self._prepare()
            for left in reversed(range(self.settings.copies)):
                if await self._copy_and_publish():
                    return
                if not left:
                    raise StoppedError(f"copied {self.settings.copies} times in vain: {self._why}")
                await self._step(Step.CLEAN_TARGET)
        except AbandonedError:
            await self._step(Step.UNDO, why="aborted")
        except StoppedError as error:
            await self._step(Step.UNDO, why=str(error))

    async def _prepare(self) -> None:
        """PLAN and CLEAN_TARGET: both shards hide what is not theirs before the first byte is written."""
        self._raise_if_aborted()
        self._raise_if_owned_otherwise()
        move = self.leg.move
        if self.leg.step is Step.PLAN:
            self._show()
            try:
                why_not = await why_not_now(self.desk, self.engines, move)
            except PlanError as error:
                raise StoppedError(str(error)) from error
            if why_not is not None:
                raise StoppedError(why_not)
            mixed = tuple(key for key in (move.source, move.target) if self.desk.records[key].is_mixed)
            await self._step(Step.CLEAN_TARGET, mixed_before=mixed)
        self._show()
        await self._mix()

    async def _mix(self) -> None:
        keys = (self.leg.move.source, self.leg.move.target)
        why = ""
        for _ in range(self.settings.undo_tries):
            self._raise_if_aborted()
            try:
                await self.desk.change(dict.fromkeys(keys, mixed))
                await self.desk.wait_served(keys, within=self.settings.serve_within)
                self._mixed.served()
                return await self._functions()
            except FunctionsError as error:
                raise StoppedError(str(error)) from error
            except OUT_OF_REACH as error:
                why = str(error)
                self._show(why)
                await trio.sleep(self.settings.retry)
        raise StoppedError(why)

    async def _functions(self) -> None:
        source, target = self._record(self.leg.move.source), self._record(self.leg.move.target)
        if source.primary is None or target.primary is None:
            raise NotSettledError(
                f"shard {(source if source.primary is None else target).key} has no primary"
            )
        await functions_copy(self.engines.nodes, source.primary, target.primary, target.run_id)

    def _record(self, key: ShardKey) -> ShardRecord:
        """Raise StoppedError where the config has lost the shard."""
        if key not in self.desk.setups:
            raise StoppedError(f"shard {key.index} is not in the config any more")
        return self.desk.records[key]

    async def _copy_and_publish(self) -> bool:
        """COPY to PUBLISH; False when the copy is worth nothing and another one may be."""
        move = self.leg.move
        source, target = await self._settled(move.source), await self._settled(move.target)
        assert target.primary is not None
        self._raise_if_owned_otherwise()
        await self._step(Step.COPY)
        if (flushes := await self._flushes(target)) is None:
            return False
        plan = CopyPlan(
            sources_of(source, self.engines),
            (Target(move.slots, self.engines.end_of(target.primary)),),
            families=self._families,
            rate=self.rate,
            claim=claim_new(self.desk.cluster, self.desk.term),
            until=lease_until(self.desk.covers),
        )
        try:
            copier = await self.parts.copier_start(plan)
        except CopyError as error:
            raise StoppedError(str(error)) from error
        try:
            async with kept((copier,), self.desk.covers):
                if not await self._wait_close(copier, identity_of(target)):
                    return False
                await self._step(Step.CATCH_UP, keys=copier.status.keys, bytes=copier.status.bytes)
                return await self._fence(copier, identity_of(target), flushes)
        except CopyError as error:
            if error.fault is CopyFault.LAPSED:
                return False
            if error.fault in (None, CopyFault.TARGET_LOST) and await self._fails_over(
                move.target, identity_of(target)
            ):
                return False
            raise StoppedError(str(error)) from error
        finally:
            await copier.stop()

    async def _flushes(self, target: ShardRecord) -> Flushes | None:
        """How often the target was flushed until now; None when it is another one meanwhile."""
        assert target.primary is not None
        why = ""
        for _ in range(self.settings.undo_tries):
            self._raise_if_aborted()
            try:
                return await flushes_of(
                    self.engines.nodes, target.primary, target.run_id, within=self.settings.answers_within
                )
            except (*OUT_OF_REACH, InfoError) as error:
                why = str(error)
            if identity_of(self._record(target.key)) != identity_of(target):
                return None
            self._show(why)
            await trio.sleep(self.settings.retry)
        raise StoppedError(why)

    async def _settled(self, key: ShardKey) -> ShardRecord:
        """The shard's record once it has a primary; raise StoppedError where it gets none."""
        with trio.move_on_after(self.settings.settle_within):
            while self._record(key).primary is None:
                self._raise_if_aborted()
                await trio.sleep(self.settings.look)
            return self._record(key)
        raise StoppedError(f"shard {key.index} has had no primary for {self.settings.settle_within:g} s")

    async def _fails_over(self, key: ShardKey, copied_to: Identity) -> bool:
        """Whether the copier failed as who it wrote to is another one now, or is about to be."""
        with trio.move_on_after(self.settings.fails_over_within):
            while identity_of(self._record(key)) == copied_to:
                self._raise_if_aborted()
                await trio.sleep(self.settings.look)
            return True
        return False

    async def _wait_close(self, copier: Copier, target: Identity) -> bool:
        """Wait until little is left; False when it has to begin anew.

        Raise CopyError, StoppedError or AbandonedError.
        """

        async def close() -> bool:
            await self._mixed.wait()
            await copier.wait_close()
            return True

        async def aborted() -> bool:
            await self.work.wait_aborted()
            raise AbandonedError

        if await wait_first(close, aborted, lambda: self._look(copier, target)):
            return True
        if self.work.is_paused:
            await copier.stop()
            self._show("paused: what is copied stays, and is copied again when it goes on")
            await self.work.wait_resumed()
            self._raise_if_aborted()
        return False

    async def _look(self, copier: Copier, target: Identity) -> bool:
        """Tell how far it is, and of changed nodes; False when it is paused, or the target another one."""
        source = self._record(self.leg.move.source)
        followed_since: float | None = None
        while True:
            self._raise_if_other_families()
            status = copier.status
            self._show(status_text(status), done=status.scanned, total=status.total)
            if status.phase is not CopyPhase.FOLLOWING:
                followed_since = None
            elif followed_since is None:
                followed_since = trio.current_time()
            elif trio.current_time() - followed_since > self.settings.converge_within:
                raise StoppedError(
                    f"keys change faster than they can be copied: {status.dirty} are left after"
                    f" {self.settings.converge_within:g} s; move fewer slots at once, or when less is written"
                )
            now = self._record(self.leg.move.source)
            if (now.primary, now.nodes, now.promise.voters) != (
                source.primary,
                source.nodes,
                source.promise.voters,
            ) and now.primary is not None:
                source = now
                await copier.sources(sources_of(now, self.engines))
            taker = self._record(self.leg.move.target)
            if taker.primary is not None and identity_of(taker) != target:
                self._in_vain("the target fails over again and again: see shardproxy events")
                return False
            if self.work.is_paused:
                return False
            await trio.sleep(self.settings.look)

    async def _fence(self, copier: Copier, target: Identity, flushes: Flushes) -> bool:
        """Try until it holds; False when the target is another one, or the copier has ended in vain."""
        await self._step(Step.FENCE)
        fence = Fence(self.desk, self.engines, self.leg.move, copier, target, flushes, self.settings.fence)
        why = ""
        for number in range(self.settings.fence.tries):
            if number:
                pause = min(self.settings.fence.longest, self.settings.fence.backoff * 2 ** (number - 1))
                self._show(f"tried {number} times: {why}")
                await trio.sleep(pause)
                await self._save()  # how long that takes is what counts of the store
                copier.go_on()
                if not await self._wait_close(copier, target):
                    return False
            self._raise_if_aborted()
            self._raise_if_other_families()
            if (wrote_in := self.desk.wrote_in) > (most := self.settings.fence.slowest):
                why = (
                    f"the store took {wrote_in * 1000:.0f} ms for the last write, and {most * 1000:.0f} ms"
                    " are the most while requests wait: give it a faster disk, or move slots when it is idle"
                )
                continue
            try:
                pause = await fence.attempt()
            except NotFencedError as error:
                why = str(error)
                log.info("fence given up", cluster=self.desk.cluster, why=why, laps_ms=fence.laps)
                continue
            except DifferentError as error:
                self._differed(error)
                return False
            except ChangedError as error:
                self._in_vain(f"{error}: see shardproxy events")
                return False
            except StoreUnavailableError as error:
                await self._wait_known(str(error))
                why = str(error)
                continue
            except SpentError as error:
                if not await self._wait_known(str(error)):
                    self._in_vain(str(error))
                    return False
                pause = 0.0  # nobody knows
            await self._published(pause, number + 1, fence.laps)
            return True
        raise StoppedError(f"{self.settings.fence.tries} times the slots could not be held: {why}")

    def _in_vain(self, why: str) -> None:
        self._why = why
        log.info("copied in vain", cluster=self.desk.cluster, why=why)

    def _differed(self, error: DifferentError) -> None:
        """Have it copied anew: a short time to live that ends on one side first looks like this, once."""
        self._differences += 1
        self._in_vain(f"the copy differs: {error}")
        if self._differences >= self.settings.differing:
            raise StoppedError(
                f"{self._differences} times copied, and not what the source has: {error}"
            ) from error

    async def _wait_known(self, why: str) -> bool:
        """Whether it was published after all: until then nothing more is written to the target by anybody.

        The hold goes with a write that succeeds, so the store answers then, and what it showed before counts.
        """
        move = self.leg.move
        while not is_published(self.desk, move):
            self._show(why)
            try:
                await hold_drop(self.desk, move)
            except (StoreUnavailableError, NotSettledError) as error:
                why = str(error)
            else:
                if is_given_up(self.desk, move):
                    return False
            await trio.sleep(self.settings.retry)
        return True

    async def _published(self, pause: float, tries: int, laps: dict[str, float]) -> None:
        self.leg = self.leg.at(Step.PUBLISH)
        await self._step(Step.CLEAN_SOURCE, pause=pause, tries=tries)
        self.parts.moved_note(self.desk.cluster, slots_count(self.leg.move.slots), self.leg.keys)
        if pause:
            self.parts.pause_note(self.desk.cluster, pause)
        log.info(
            "slots moved",
            cluster=self.desk.cluster,
            slots=slots_count(self.leg.move.slots),
            pause_ms=round(pause * 1000, 1),
            tries=tries,
            laps_ms=laps,
        )

    def _raise_if_owned_otherwise(self) -> None:
        """Nothing is taken away at a target that owns some of the slots by now."""
        self._raise_if_other_families()
        if (why_not := why_not_the_sources(self.desk.records, self.leg.move)) is not None:
            raise StoppedError(why_not)

    def _raise_if_other_families(self) -> None:
        """Keys have other slots by these: what is copied is not what would have to be."""
        if self.engines.families != self._families:
            raise StoppedError("the key families of the config have changed meanwhile: begin a new job")

    def _raise_if_aborted(self) -> None:
        if self.work.is_aborted:
            raise AbandonedError


def mixed(record: ShardRecord) -> ShardRecord:
    return replace(record, is_mixed=True)


def status_text(status: CopyStatus) -> str:
    """How far a copier is, in a line."""
    text = f"{status.keys} keys copied, {status.scanned} of {status.total} looked at, {status.dirty} changed"
    if status.passes > 1:
        text += f", begun anew {status.passes - 1} times"
    said = "; ".join(filter(None, (status.why, status.unguarded)))
    return f"{text} ({said})" if said else text
