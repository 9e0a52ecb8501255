"""Tries the fence until it holds, and finds out what became of one that nobody knows of."""

from __future__ import annotations

from dataclasses import dataclass

import structlog
import trio

from shardproxy.failover.interfaces import NotSettledError
from shardproxy.model.slots import slots_count
from shardproxy.reshard.copying import Copying, raise_if_unguarded
from shardproxy.reshard.course import Course, StoppedError
from shardproxy.reshard.fence import (
    ChangedError,
    DifferentError,
    EvictedError,
    Fence,
    NotFencedError,
    SpentError,
    hold_drop,
    is_given_up,
    is_published,
)
from shardproxy.reshard.memo import Step
from shardproxy.store.interface import StoreUnavailableError

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Cutover:
    """Of one copy."""

    course: Course
    copying: Copying

    async def run(self) -> bool:
        """Try until it holds; False when the target is another one, or the copier has ended in vain."""
        course, copier = self.course, self.copying.copier
        target, settings = self.copying.target, self.course.settings.fence
        await course.step(Step.FENCE)
        fence = Fence(
            course.desk, course.engines, course.leg.move, copier, target, self.copying.flushes, settings
        )
        why = ""
        for number in range(settings.tries):
            if number:
                pause = min(settings.longest, settings.backoff * 2 ** (number - 1))
                course.show(f"tried {number} times: {why}")
                await trio.sleep(pause)
                await course.keep()  # how long that takes is what counts of the store
                copier.go_on()
                if not await self.copying.wait_close():
                    return False
            course.raise_if_aborted()
            course.raise_if_other_families()
            raise_if_unguarded(copier.status)
            if (wrote_in := course.desk.wrote_in) > (most := settings.slowest):
                why = (
                    f"the store took {wrote_in * 1000:.0f} ms for the last write, and {most * 1000:.0f} ms"
                    " are the most while requests wait: give it a faster disk, or move slots when it is idle"
                )
                continue
            try:
                pause = await fence.attempt()
            except NotFencedError as error:
                why = str(error)
                log.info("fence given up", cluster=course.desk.cluster, why=why, laps_ms=fence.laps)
                continue
            except DifferentError as error:
                await self.copying.raise_if_it_evicts()
                course.differed(error)
                return False
            except EvictedError as error:
                raise StoppedError(str(error)) from error
            except ChangedError as error:
                course.in_vain(f"{error}: see shardproxy events")
                return False
            except StoreUnavailableError as error:
                await self._wait_known(str(error))
                why = str(error)
                continue
            except SpentError as error:
                if not await self._wait_known(str(error)):
                    course.in_vain(str(error))
                    return False
                pause = 0.0  # nobody knows
            await self._published(pause, number + 1, fence.laps)
            return True
        raise StoppedError(f"{settings.tries} times the slots could not be held: {why}")

    async def _wait_known(self, why: str) -> bool:
        """Whether it was published after all: until then nothing more is written to the target by anybody.

        The hold goes with a write that succeeds, so the store answers then, and what it showed before counts.
        """
        move = self.course.leg.move
        while not is_published(self.course.desk, move):
            self.course.show(why)
            try:
                await hold_drop(self.course.desk, move)
            except (StoreUnavailableError, NotSettledError) as error:
                why = str(error)
            else:
                if is_given_up(self.course.desk, move):
                    return False
            await trio.sleep(self.course.settings.retry)
        return True

    async def _published(self, pause: float, tries: int, laps: dict[str, float]) -> None:
        course, cluster = self.course, self.course.desk.cluster
        course.leg = course.leg.at(Step.PUBLISH)
        await course.step(Step.CLEAN_SOURCE, pause=pause, tries=tries)
        course.parts.moved_note(cluster, slots_count(course.leg.move.slots), course.leg.keys)
        if pause:
            course.parts.pause_note(cluster, pause)
        log.info(
            "slots moved",
            cluster=cluster,
            slots=slots_count(course.leg.move.slots),
            pause_ms=round(pause * 1000, 1),
            tries=tries,
            laps_ms=laps,
        )
