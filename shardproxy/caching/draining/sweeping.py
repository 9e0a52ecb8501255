"""Finds the slots that have notes, whoever has written these; counts them, and dead letters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import structlog
import trio

from shardproxy.caching.engines import TIMEOUT, Engines, Process
from shardproxy.caching.names import Names, SlotNames
from shardproxy.caching.statistics import CachingStatistics
from shardproxy.model import SLOT_COUNT
from shardproxy.nodes import NodeError, NodeFailure

SWEEP = 5.0  # seconds between looks at all slots
ASKED = 1024  # slots in one write

log = structlog.get_logger()


class Sweeping:
    """Looks at all slots, as their streams' names are known."""

    def __init__(
        self,
        engines: Engines,
        names: Names,
        statistics: CachingStatistics,
        noted: Callable[[SlotNames], None],
    ) -> None:
        self._engines = engines
        self._names = names
        self._statistics = statistics
        self._noted = noted
        self._warned: set[Process] = set()
        self._found: dict[str, dict[int, tuple[int, int]]] = {}  # notes, dead letters; by slot

    async def run(self, cluster: str, every: float) -> None:
        while True:
            is_whole = await self.sweep(cluster)
            await trio.sleep(every if is_whole else min(every, SWEEP))

    async def sweep(self, cluster: str) -> bool:
        """Find the slots that have notes, and count these and dead letters; whether all were looked at.

        What others drain is seen here alone: of slots that cannot be looked at, what was found last counts.
        """
        count, found = 0, self._found.setdefault(cluster, {})
        for process, slots in self._engines.slots(cluster):
            try:
                await self._sweep_at(cluster, process, slots, found)
            except (NodeFailure, NodeError) as error:
                log.debug("not all slots were looked at", cluster=cluster, why=str(error))
                continue
            count += len(slots)
        known = self._statistics.cluster(cluster)
        if count:
            known.backlog, known.dead = (sum(counts[at] for counts in found.values()) for at in (0, 1))
        return count == SLOT_COUNT

    async def _sweep_at(
        self, cluster: str, process: Process, slots: Sequence[int], found: dict[int, tuple[int, int]]
    ) -> None:
        """How many notes and dead letters one primary has, by slot where there are any."""
        await self._warn_of_eviction(cluster, process)
        for asked in _batched(slots, ASKED):
            names = [self._names.of_slot(cluster, slot) for slot in asked]
            requests = [("XLEN", name) for one in names for name in (one.stream, one.dead)]
            replies = await self._engines.request_all(process, requests, TIMEOUT)
            counts = [reply if isinstance(reply, int) else 0 for reply in replies]
            for one, notes, dead in zip(names, counts[::2], counts[1::2], strict=True):
                if notes:
                    self._noted(one)
                if notes or dead:
                    found[one.slot] = (notes, dead)
                else:
                    found.pop(one.slot, None)

    async def _warn_of_eviction(self, cluster: str, process: Process) -> None:
        """An engine that may evict any key may evict writes that its database does not have."""
        if process in self._warned:
            return
        (reply,) = await self._engines.request_all(process, [("CONFIG", "GET", "maxmemory-policy")])
        self._warned.add(process)
        if isinstance(reply, list) and len(reply) == 2 and str(reply[1]).find("allkeys") >= 0:
            log.warning(
                "writes behind may be evicted before their database has them",
                cluster=cluster,
                node=str(process.address),
                advice="set maxmemory-policy to volatile-lru, or to noeviction",
            )


def _batched(slots: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for at in range(0, len(slots), size):
        yield slots[at : at + size]
