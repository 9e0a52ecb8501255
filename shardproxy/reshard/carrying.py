"""Carries one leg from where its memo says to its end, or back.

course   how far it is: every step is on record before anything of it is done
plan, clean target ─> copying: until little is left ─> cutover: the fence, until it holds ─> cleaning
         └─ it cannot be ─────────┴─────────────────────────┴─> undo
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import trio

from shardproxy.failover.interfaces import NotSettledError
from shardproxy.model.replication import ShardKey
from shardproxy.replication.interface import CopyDiffersError, CopyError, CopyFault, CopyPlan, Target
from shardproxy.replication.leases import claim_new, kept, lease_until
from shardproxy.reshard.cleaning import Cleaning
from shardproxy.reshard.copying import Copying
from shardproxy.reshard.course import AbandonedError, Course, StoppedError
from shardproxy.reshard.cutover import Cutover
from shardproxy.reshard.fence import identity_of
from shardproxy.reshard.flushes import Flushes, flushes_of
from shardproxy.reshard.functions import FunctionsError, functions_copy
from shardproxy.reshard.lingering import Lingering
from shardproxy.reshard.memo import Leg, Step
from shardproxy.reshard.parts import primary_of, sources_of
from shardproxy.reshard.planning import PlanError, why_not_now
from shardproxy.reshard.settings import OUT_OF_REACH
from shardproxy.store.record import ShardRecord
from shardproxy.wire.info import InfoError


@dataclass(slots=True)
class Carrying:
    """One leg."""

    course: Course
    _mixed: Lingering = field(init=False)

    def __post_init__(self) -> None:
        self._mixed = Lingering(self.course.desk)

    async def run(self) -> Leg:
        """Bring it to its end: DONE or UNDONE, with `why`. Raise LeadershipLostError."""
        while not self.course.leg.step.is_over:
            match self.course.leg.step:
                case Step.CLEAN_SOURCE:
                    removed, why = await self._cleaning().at_source()
                    await self.course.step(Step.DONE, removed=removed, why=why)
                case Step.UNDO:
                    await self.course.step(Step.UNDONE, why=await self._cleaning().undo())
                case _:
                    await self._bring()
        return self.course.leg

    def _cleaning(self) -> Cleaning:
        course = self.course
        return Cleaning(
            course.desk,
            course.engines,
            course.leg,
            course.show,
            course.settings,
            lambda: course.work.is_aborted,
        )

    async def _bring(self) -> None:
        try:
            await self._prepare()
            for left in reversed(range(self.course.settings.copies)):
                if await self._copy_and_publish():
                    return
                if not left:
                    raise StoppedError(
                        f"copied {self.course.settings.copies} times in vain: {self.course.why}"
                    )
                await self.course.step(Step.CLEAN_TARGET)
        except AbandonedError:
            await self.course.step(Step.UNDO, why="aborted")
        except StoppedError as error:
            await self.course.step(Step.UNDO, why=str(error))

    async def _prepare(self) -> None:
        """PLAN and CLEAN_TARGET: both shards hide what is not theirs before the first byte is written."""
        self.course.raise_if_aborted()
        self.course.raise_if_owned_otherwise()
        move = self.course.leg.move
        if self.course.leg.step is Step.PLAN:
            self.course.show()
            try:
                why_not = await why_not_now(self.course.desk, self.course.engines, move)
            except PlanError as error:
                raise StoppedError(str(error)) from error
            if why_not is not None:
                raise StoppedError(why_not)
            mixed = tuple(key for key in (move.source, move.target) if self.course.desk.records[key].is_mixed)
            await self.course.step(Step.CLEAN_TARGET, mixed_before=mixed)
        self.course.show()
        await self._mix()

    async def _mix(self) -> None:
        keys = (self.course.leg.move.source, self.course.leg.move.target)
        why = ""
        for _ in range(self.course.settings.undo_tries):
            self.course.raise_if_aborted()
            try:
                await self.course.desk.change(dict.fromkeys(keys, mixed))
                await self.course.desk.wait_served(keys, within=self.course.settings.serve_within)
                self._mixed.served()
                return await self._functions()
            except FunctionsError as error:
                raise StoppedError(str(error)) from error
            except OUT_OF_REACH as error:
                why = str(error)
                self.course.show(why)
                await trio.sleep(self.course.settings.retry)
        raise StoppedError(why)

    async def _functions(self) -> None:
        move = self.course.leg.move
        source, target = self.course.record(move.source), self.course.record(move.target)
        if source.primary is None or target.primary is None:
            raise NotSettledError(
                f"shard {(source if source.primary is None else target).key} has no primary"
            )
        await functions_copy(self.course.engines.nodes, source.primary, target.primary, target.run_id)

    async def _copy_and_publish(self) -> bool:
        """COPY to PUBLISH; False when the copy is worth nothing and another one may be."""
        move = self.course.leg.move
        source, target = await self._settled(move.source), await self._settled(move.target)
        assert target.primary is not None
        self.course.raise_if_owned_otherwise()
        await self.course.step(Step.COPY)
        if (flushes := await self._flushes(target)) is None:
            return False
        plan = CopyPlan(
            sources_of(source, self.course.engines),
            (Target(move.slots, primary_of(target, self.course.engines)),),
            families=self.course.families,
            rate=self.course.rate,
            claim=claim_new(self.course.desk.cluster, self.course.desk.term),
            until=lease_until(self.course.desk.covers),
        )
        try:
            copier = await self.course.parts.copier_start(plan)
        except CopyError as error:
            raise StoppedError(str(error)) from error
        copying = Copying(self.course, copier, identity_of(target), flushes, self._mixed)
        try:
            async with kept((copier,), self.course.desk.covers):
                if not await copying.wait_close():
                    return False
                await self.course.step(Step.CATCH_UP, keys=copier.status.keys, bytes=copier.status.bytes)
                if not await copying.compare():
                    return False
                return await Cutover(self.course, copying).run()
        except CopyDiffersError as error:
            await copying.raise_if_it_evicts()
            self.course.differed(error)
            return False
        except CopyError as error:
            if error.fault is CopyFault.LAPSED:
                return False
            if error.fault in (None, CopyFault.TARGET_LOST) and await copying.fails_over():
                return False
            raise StoppedError(str(error)) from error
        finally:
            await copier.stop()

    async def _flushes(self, target: ShardRecord) -> Flushes | None:
        """How often the target was flushed until now; None when it is another one meanwhile."""
        assert target.primary is not None
        why = ""
        for _ in range(self.course.settings.undo_tries):
            self.course.raise_if_aborted()
            try:
                return await flushes_of(
                    self.course.engines.nodes,
                    target.primary,
                    target.run_id,
                    within=self.course.settings.answers_within,
                )
            except (*OUT_OF_REACH, InfoError) as error:
                why = str(error)
            if identity_of(self.course.record(target.key)) != identity_of(target):
                return None
            self.course.show(why)
            await trio.sleep(self.course.settings.retry)
        raise StoppedError(why)

    async def _settled(self, key: ShardKey) -> ShardRecord:
        """The shard's record once it has a primary; raise StoppedError where it gets none."""
        with trio.move_on_after(self.course.settings.settle_within):
            while self.course.record(key).primary is None:
                self.course.raise_if_aborted()
                await trio.sleep(self.course.settings.look)
            return self.course.record(key)
        raise StoppedError(
            f"shard {key.index} has had no primary for {self.course.settings.settle_within:g} s"
        )


def mixed(record: ShardRecord) -> ShardRecord:
    return replace(record, is_mixed=True)
