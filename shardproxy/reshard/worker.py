"""The worker for jobs of kind `reshard`: plans, and carries leg after leg."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shardproxy.config.slots import format_slots
from shardproxy.failover.interfaces import SlotDesk
from shardproxy.jobs.interface import JobError, Work
from shardproxy.model.slots import slots_count
from shardproxy.reshard.carrying import Carrying
from shardproxy.reshard.course import Course
from shardproxy.reshard.fence import is_published
from shardproxy.reshard.memo import Leg, Memo, Step
from shardproxy.reshard.parts import Engines, Parts
from shardproxy.reshard.planning import PlanError, labels_of, moves_wanted, plan_make
from shardproxy.reshard.settings import CarrySettings
from shardproxy.reshard.wants import WantsError, wants_check, wants_read

KIND = "reshard"
MOVES_TOLD = 10  # in a result, which is small


@dataclass(slots=True)
class ReshardWorker:
    """See jobs.interface.Worker."""

    parts: Parts
    settings: CarrySettings = field(default_factory=CarrySettings)
    kind: str = KIND

    def check(self, cluster: str, wants: Mapping[str, Any]) -> Mapping[str, Any]:
        """Its shape; whether its shards are there says the plan."""
        try:
            return wants_check(wants)
        except WantsError as error:
            raise JobError(str(error)) from error

    def can_finish(self, wants: Mapping[str, Any]) -> bool:
        """See Worker."""
        return False

    async def plan(self, desk: SlotDesk, wants: Mapping[str, Any]) -> Mapping[str, Any]:
        """What would be moved, how much that is, and whether it fits."""
        try:
            async with self.parts.engines(desk.cluster) as engines:
                plan = await plan_make(desk, engines, wants_read(wants, desk.setups))
        except (WantsError, PlanError) as error:
            raise JobError(str(error)) from error
        return plan.write()

    async def run(self, desk: SlotDesk, work: Work) -> Mapping[str, Any]:
        """Carry every leg; after one that cannot be, nothing more is begun."""
        async with self.parts.engines(desk.cluster) as engines:
            return await self._run(desk, work, engines)

    async def _run(self, desk: SlotDesk, work: Work, engines: Engines) -> Mapping[str, Any]:
        rate = int(work.job.wants.get("rate", 0))
        memo = await self._memo(desk, work, engines)
        while (place := memo.current) is not None:
            leg = memo.legs[place]
            if leg.step is Step.PLAN:
                await work.wait_resumed()
                if work.is_aborted:
                    break

            async def save(leg: Leg, place: int = place) -> None:
                nonlocal memo
                memo = memo.with_leg(place, leg)
                await work.save(memo.write())

            title = self._title(desk, memo, place)
            course = Course(
                desk, work, self.parts, engines, leg, save, title, rate=rate, settings=self.settings
            )
            ended = await Carrying(course).run()
            if ended.step is Step.UNDONE:
                if work.is_aborted:
                    break
                raise JobError(f"{title}: {ended.why}; its slots are where they were{_moved_text(memo)}")
        return result_of(memo, labels_of(desk))

    async def _memo(self, desk: SlotDesk, work: Work, engines: Engines) -> Memo:
        """As the last leader left it, or made now."""
        if work.job.memo:
            memo = Memo.read(desk.cluster, work.job.memo)
            place = memo.current
            if place is None:
                return memo
            leg = memo.legs[place]
            taken_up = leg.taken_up(is_published=is_published(desk, leg.move))
            if taken_up.step is Step.CLEAN_SOURCE and leg.step is not Step.CLEAN_SOURCE:
                self.parts.moved_note(desk.cluster, slots_count(leg.move.slots), leg.keys)
            return memo.with_leg(place, taken_up)
        try:
            wants = wants_read(work.job.wants, desk.setups)
            moves = await moves_wanted(desk, engines, wants)
        except (WantsError, PlanError) as error:
            raise JobError(f"{error}; nothing was moved") from error
        memo = Memo(tuple(map(Leg, moves)))
        await work.save(memo.write())
        return memo

    def _title(self, desk: SlotDesk, memo: Memo, place: int) -> str:
        move, labels = memo.legs[place].move, labels_of(desk)
        source, target = (labels.get(key, str(key.index)) for key in (move.source, move.target))
        return f"{place + 1}/{len(memo.legs)}: {slots_count(move.slots)} slots from {source} to {target}"


def result_of(memo: Memo, labels: Mapping[Any, str]) -> dict[str, Any]:
    """What became of it, as JSON."""
    done = [leg for leg in memo.legs if leg.step is Step.DONE]
    left = "".join(f"; {leg.why}" for leg in done if leg.why)
    return {
        "text": f"{sum(slots_count(leg.move.slots) for leg in done)} slots moved{left}",
        "complete": all(leg.step is Step.DONE for leg in memo.legs),
        "slots": sum(slots_count(leg.move.slots) for leg in done),
        "keys": sum(leg.keys for leg in done),
        "bytes": sum(leg.bytes for leg in done),
        "removed": sum(leg.removed for leg in done),
        "undone": [leg.why for leg in memo.legs if leg.step is Step.UNDONE],
        "pause_ms": _pauses([leg.pause * 1000 for leg in done]),
        "moves": [
            {
                "from": labels.get(leg.move.source, str(leg.move.source.index)),
                "to": labels.get(leg.move.target, str(leg.move.target.index)),
                "slots": format_slots(leg.move.slots),
            }
            for leg in done[:MOVES_TOLD]
        ],
    }


def _pauses(found: list[float]) -> dict[str, float]:
    """Of all moves together; each one's is in the log."""
    if not found:
        return {}
    return {"median": round(statistics.median(found), 2), "longest": round(max(found), 2)}


def _moved_text(memo: Memo) -> str:
    done = sum(slots_count(leg.move.slots) for leg in memo.legs if leg.step is Step.DONE)
    return f"; {done} slots were moved before" if done else ""
