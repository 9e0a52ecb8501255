"""Carries one leg from where its memo says to its end, or back.

Every step is on record before anything of it is done, and can be begun again by the next leader.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import structlog
import trio

from shardproxy.failover.interfaces import FenceError, NotSettledError, SlotDesk
from shardproxy.jobs.interface import Work
from shardproxy.model.replication import ShardKey
from shardproxy.nodes import NodeError, NodeFailure
from shardproxy.replication.interface import Copier, CopyError, CopyPhase, CopyPlan, CopyStatus, Target
from shardproxy.reshard.fence import (
    ChangedError,
    DifferentError,
    Fence,
    FenceSettings,
    Identity,
    NotFencedError,
    hold_drop,
    identity_of,
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
from shardproxy.reshard.sample import ScanError
from shardproxy.reshard.slots import slots_count, slots_each
from shardproxy.reshard.sweep import SweepError, replicas_wait, sweep
from shardproxy.store.interface import StoreUnavailableError
from shardproxy.store.record import ShardRecord
from shardproxy.wire.info import InfoError

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CarrySettings:
    """Times in seconds."""

    fence: FenceSettings = field(default_factory=FenceSettings)
    look: float = 0.25  # between looks at how far the copier is
    serve_within: float = 10.0  # every proxy hides what is not its shards' by then
    converge_within: float = 120.0  # from the end of the first copy until little is left
    retry: float = 1.0  # after an engine or the store was not there
    undo_tries: int = 30
    answers_within: float = 2.0  # an engine, to a question about itself
    settle_within: float = 60.0  # a failover is over by then
    fails_over_within: float = 5.0  # it is seen by then why a target was lost
    differing: int = 3  # copies in which a difference was found
    copies: int = 5  # begun anew because the target is another process, or clients came in between


class StoppedError(Exception):
    """The move cannot go on; the source has the slots as before."""


class AbandonedError(Exception):
    """An operator gave it up before anything was published."""


Saved = Callable[[Leg], Awaitable[None]]
OUT_OF_REACH = (
    NodeFailure,
    NodeError,
    ScanError,
    SweepError,
    StoreUnavailableError,
    NotSettledError,
    FenceError,
)


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
    _mixed: Lingering = field(init=False)
    _given: Lingering = field(init=False)
    _families: tuple[tuple[str, str], ...] = field(init=False)  # by which this leg tells keys' slots
    _differences: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._mixed, self._given = Lingering(self.desk), Lingering(self.desk)
        self._families = self.engines.families

    async def run(self) -> Leg:
        """Bring it to its end: DONE or UNDONE, with `why`. Raise LeadershipLostError."""
        while not self.leg.step.is_over:
            match self.leg.step:
                case Step.CLEAN_SOURCE:
                    await self._clean_source()
                case Step.UNDO:
                    await self._undo()
                case _:
                    await self._bring()
        return self.leg

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

    # up to PUBLISH

    async def _bring(self) -> None:
        try:
            await self._prepare()
            for left in reversed(range(self.settings.copies)):
                if await self._copy_and_publish():
                    return
                if not left:
                    raise StoppedError("the target changes again and again: see shardproxy events")
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
        )
        try:
            copier = await self.parts.copier_start(plan)
        except CopyError as error:
            raise StoppedError(str(error)) from error
        try:
            if not await self._wait_close(copier, identity_of(target)):
                return False
            await self._step(Step.CATCH_UP, keys=copier.status.keys, bytes=copier.status.bytes)
            return await self._fence(copier, identity_of(target), flushes)
        except CopyError as error:
            if await self._fails_over(move.target, identity_of(target)):
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
            if self.work.is_paused or (taker.primary is not None and identity_of(taker) != target):
                return False
            await trio.sleep(self.settings.look)

    async def _fence(self, copier: Copier, target: Identity, flushes: Flushes) -> bool:
        """Try until it holds; False when the target is another one."""
        await self._step(Step.FENCE)
        fence = Fence(self.desk, self.engines, self.leg.move, copier, target, flushes, self.settings.fence)
        why = ""
        for number in range(self.settings.fence.tries):
            if number:
                pause = min(self.settings.fence.longest, self.settings.fence.backoff * 2 ** (number - 1))
                self._show(f"tried {number} times: {why}")
                await trio.sleep(pause)
                await self._save()  # how long that takes is what counts of the store
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
                log.info("copied to one that is another now", cluster=self.desk.cluster, why=str(error))
                return False
            except StoreUnavailableError as error:
                if not await self._wait_known(error):
                    why = str(error)
                    continue
                pause = 0.0  # nobody knows
            await self._published(pause, number + 1, fence.laps)
            return True
        raise StoppedError(f"{self.settings.fence.tries} times the slots could not be held: {why}")

    def _differed(self, error: DifferentError) -> None:
        """Have it copied anew: a short time to live that ends on one side first looks like this, once."""
        self._differences += 1
        log.warning("copy differs", cluster=self.desk.cluster, why=str(error), copies=self._differences)
        if self._differences >= self.settings.differing:
            raise StoppedError(
                f"{self._differences} times copied, and not what the source has: {error}"
            ) from error

    async def _wait_known(self, error: StoreUnavailableError) -> bool:
        """Whether it was published after all: written again only once the records are known to say no.

        The hold goes with a write that succeeds, so the store answers then, and what it showed before counts.
        """
        move = self.leg.move
        while not is_published(self.desk, move):
            self._show(f"the store is not available: {error}")
            try:
                await self.desk.change({move.source: lambda record: replace(record, hold=None)})
            except (StoreUnavailableError, NotSettledError):
                await trio.sleep(self.settings.retry)
            else:
                return is_published(self.desk, move)
        return True

    async def _published(self, pause: float, tries: int, laps: dict[str, float]) -> None:
        self.leg = self.leg.at(Step.PUBLISH)
        await self._step(Step.CLEAN_SOURCE, pause=pause, tries=tries)
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

    # after it, or back

    async def _clean_source(self) -> None:
        """Take away what the source has of the slots, once no proxy sends it requests for them."""
        move = self.leg.move
        while True:
            try:
                self._show("waiting for every proxy to serve the new owner")
                await hold_drop(self.desk, move)
                await self.desk.wait_served((move.source, move.target), within=self.settings.serve_within)
                self._given.served()
                await self._given.wait()
                removed = await self._sweep(move.source)
                await self._unmix(move.source)
                break
            except OUT_OF_REACH as error:
                self._show(f"tried again: {error}")
                await trio.sleep(self.settings.retry)
        await self._step(Step.DONE, removed=removed)

    async def _undo(self) -> None:
        """Take the target's copies away; what cannot be taken away stays hidden."""
        move, why = self.leg.move, self.leg.why
        for _ in range(self.settings.undo_tries):
            try:
                await hold_drop(self.desk, move)
                await self._sweep(move.target)
                await self._unmix(move.target)
                break
            except OUT_OF_REACH as error:
                self._show(f"taking back what was copied: {error}")
                last = str(error)
                await trio.sleep(self.settings.retry)
        else:
            why += f"; what was copied is still at the target, hidden ({last}): the next job there removes it"
            why += await self._unmix_source()
        await self._step(Step.UNDONE, why=why)

    async def _unmix_source(self) -> str:
        """Have the source hide nothing, as it has nothing that is not its own; or say that it still does."""
        source = self.leg.move.source
        if source in self.leg.mixed_before or source not in self.desk.records:
            return ""
        why = ""
        for _ in range(self.settings.undo_tries):
            try:
                await self.desk.change({source: unmixed})
                return ""
            except OUT_OF_REACH as error:
                why = str(error)
                await trio.sleep(self.settings.retry)
        return f"; the source, shard {source.index}, counts as mixed until then too ({why})"

    async def _sweep(self, key: ShardKey) -> int:
        """Take away the leg's keys at a shard that does not own them, and older leftovers."""
        record = self.desk.records[key]
        if record.primary is None:
            raise NotSettledError(f"shard {key} has no primary now")
        strays = strays_of(self.leg, key)

        owned: set[int] = set()

        def is_stray(name: bytes) -> bool:
            slot = self.engines.slot_of(name)
            return slot not in owned and (strays is None or slot in strays)

        def may_go_on() -> None:
            nonlocal owned
            owned = set(slots_each(self.desk.records[key].slots))

        removed = await sweep(
            self.engines.nodes,
            record.primary,
            record.run_id,
            is_stray,
            may_go_on=may_go_on,
            told=lambda looked, removed: self._show(f"{removed} keys removed", done=looked),
        )
        await replicas_wait(self.engines.nodes, record.primary, record.run_id, len(record.promise.voters))
        return removed

    async def _unmix(self, swept: ShardKey) -> None:
        """Hide nothing any more, once older leftovers are gone too: the rest is each one's own by now."""
        for key in self.leg.mixed_before:
            if key != swept:
                await self._sweep(key)
        keys = [key for key in (self.leg.move.source, self.leg.move.target) if key in self.desk.records]
        await self.desk.change(dict.fromkeys(keys, unmixed))


def strays_of(leg: Leg, key: ShardKey) -> set[int] | None:
    """Slots whose keys a shard has of this leg; None = of any that it does not own, as it had leftovers."""
    return None if key in leg.mixed_before else set(slots_each(leg.move.slots))


def mixed(record: ShardRecord) -> ShardRecord:
    return replace(record, is_mixed=True)


def unmixed(record: ShardRecord) -> ShardRecord:
    return replace(record, is_mixed=False)


def status_text(status: CopyStatus) -> str:
    """How far a copier is, in a line."""
    text = f"{status.keys} keys copied, {status.scanned} of {status.total} looked at, {status.dirty} changed"
    if status.passes > 1:
        text += f", begun anew {status.passes - 1} times"
    return f"{text} ({status.why})" if status.why else text
