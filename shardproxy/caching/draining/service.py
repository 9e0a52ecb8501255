"""Drains clusters: rounds, one after another, for as long as there are notes."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import structlog
import trio

from shardproxy.caching.draining.bringing import Bringing
from shardproxy.caching.draining.rounds import Round, Taken, Work
from shardproxy.caching.draining.slots import FIRST_PAUSE, LONGEST_PAUSE, Slots
from shardproxy.caching.draining.streams import NOTES, Streams
from shardproxy.caching.draining.sweeping import SWEEP, Sweeping
from shardproxy.caching.engines import Engines, Place, Process
from shardproxy.caching.names import Names, SlotNames
from shardproxy.caching.plan import Plan
from shardproxy.caching.sources.interface import Source
from shardproxy.caching.statistics import CachingStatistics
from shardproxy.nodes import NodeError, NodeFailure

SLOTS = 64  # drained in one round
LEASE = 10.0  # seconds for a round, beside what the source may take

PlanOf: TypeAlias = Callable[[bytes], Plan | None]  # of a key, if it is written to a database

log = structlog.get_logger()


class Draining:
    """What one process drains."""

    def __init__(
        self,
        engines: Engines,
        names: Names,
        statistics: CachingStatistics,
    ) -> None:
        self._engines = engines
        self._names = names
        self._streams = Streams(engines, statistics)
        self._bringing = Bringing(self._streams, statistics)
        self._sweeping = Sweeping(engines, names, statistics, self.noted)
        self._slots: dict[str, Slots] = {}
        self._under_way: set[str] = set()  # clusters that a round is about
        self._orphaned: set[bytes] = set()  # streams with notes of no rule, as the log knows

    @property
    def is_idle(self) -> bool:
        """Nothing is known here that waits for its database."""
        return not self._under_way and not any(slots.waiting for slots in self._slots.values())

    def noted(self, names: SlotNames) -> None:
        """There are notes in that slot."""
        self._slots.setdefault(names.cluster, Slots()).add(names.slot)

    async def run(self, cluster: str, plan_of: PlanOf, timeout: float = 0.0, *, sweep: float = SWEEP) -> None:
        """Drain one cluster by plans that do not change, until cancelled.

        Its sources may take so many seconds for one answer; all slots are looked at every `sweep` seconds.
        """
        token = b"d:" + secrets.token_hex(8).encode()
        slots = self._slots.setdefault(cluster, Slots())
        after: dict[int, bytes] = {}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sweeping.run, cluster, sweep)
            pause = FIRST_PAUSE
            while True:
                await slots.wait()
                taken = slots.take(SLOTS)
                one = Round(token, int(1000 * (LEASE + timeout)), slots.pauses, after, set(taken))
                self._under_way.add(cluster)
                try:
                    await self._round(cluster, taken, plan_of, one)
                except BaseException:
                    await self._streams.let_go(one)
                    raise
                finally:
                    self._under_way.discard(cluster)
                slots.settle(taken, one, trio.current_time())
                if one.is_fine:
                    pause = FIRST_PAUSE
                    if not one.failed:
                        self._bringing.forget_why(cluster)
                else:
                    await trio.sleep(pause)
                    pause = min(pause * 2, LONGEST_PAUSE)

    async def _round(self, cluster: str, slots: Sequence[int], plan_of: PlanOf, one: Round) -> None:
        """Drain what these slots have, a batch each."""
        places = self._places(cluster, slots)
        one.failed |= set(slots) - {names.slot for _, of_one in places for names in of_one}
        for process, of_one in places:
            try:
                await self._streams.take(process, of_one, one)
            except (NodeFailure, NodeError) as error:
                log.debug("notes not taken", cluster=cluster, why=str(error))
                one.failed |= {names.slot for names in of_one}
        works: dict[Source, list[Work]] = {}
        for taken in one.taken:
            orphans = 0
            for note in taken.notes:
                plan = plan_of(note.key)
                if plan is not None and plan.target is not None:
                    works.setdefault(plan.target, []).append(Work(taken, note, plan))
                else:
                    orphans += 1
            self._tell_of_orphans(taken, orphans, one)
        for source, of_source in works.items():
            await self._bringing.bring(cluster, source, of_source, one)
        await self._streams.acknowledge(one)

    def _places(self, cluster: str, slots: Iterable[int]) -> list[tuple[Process, list[SlotNames]]]:
        """These slots by who has them; those that nobody has now are left out."""
        found: dict[Process, list[SlotNames]] = {}
        for slot in slots:
            if (process := self._engines.primary(Place(cluster, slot))) is not None:
                found.setdefault(process, []).append(self._names.of_slot(cluster, slot))
        return list(found.items())

    def _tell_of_orphans(self, taken: Taken, count: int, one: Round) -> None:
        """Notes of keys that no rule of the config writes: they stay, and sweeps look again."""
        stream = taken.names.stream
        if not count:
            self._orphaned.discard(stream)
            return
        if count == NOTES:
            one.after[taken.names.slot] = taken.notes[-1].id
        elif count == len(taken.notes):
            one.after.pop(taken.names.slot, None)
            one.left.discard(taken.names.slot)
        if stream not in self._orphaned:
            self._orphaned.add(stream)
            log.error(
                "writes are kept that no rule brings to a database any more",
                cluster=taken.names.cluster,
                stream=stream.decode(),
                notes=count,
                advice="configure a rule with write.upsert for their keys again, or delete the stream",
            )
