"""Notes to their database: in one transaction, and where that fails slot by slot, or one by one."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
import trio

from shardproxy.caching.draining.rounds import Round, Work, batches
from shardproxy.caching.draining.streams import LeaseLostError, Streams
from shardproxy.caching.sources.interface import Source, SourceDownError, SourceError, SourceRefusedError
from shardproxy.caching.statistics import CachingStatistics

BATCH = 512  # in one transaction
MAX_ASIDE = 2  # slots in a row that fail alone: it may be the source, and not they

log = structlog.get_logger()


class Bringing:
    """What one process brings; batches shrink while a source fails, and grow again."""

    def __init__(self, streams: Streams, statistics: CachingStatistics) -> None:
        self._streams = streams
        self._statistics = statistics
        self._sizes: dict[Source, int] = {}  # of batches that are less than BATCH
        self._why: dict[str, str] = {}  # by cluster, that the log knows

    def forget_why(self, cluster: str) -> None:
        """All of a round went well: what goes wrong next is news."""
        self._why.pop(cluster, None)

    async def bring(self, cluster: str, source: Source, works: Sequence[Work], one: Round) -> None:
        """Bring notes to their source, until that is of no use."""
        size, before = self._sizes.get(source, BATCH), len(one.done)
        for batch in batches(works, size, one.suspects):
            why, is_down = await self._try(source, one.open(batch), one)
            self._sizes[source] = min(2 * size, BATCH) if why is None else max(1, size // 2)
            if why is None:
                continue
            self._tell(cluster, batch, why)
            if is_down or not await self._try_by_slot(source, batch, one):
                one.is_fine = not is_down and len(one.done) > before
                return

    async def _try_by_slot(self, source: Source, works: Sequence[Work], one: Round) -> bool:
        """Somebody may have locked a row: have the slots of the others; whether the source is of use."""
        by_slot: dict[int, list[Work]] = {}
        for work in works:
            by_slot.setdefault(work.slot, []).append(work)
        for slot, of_slot in by_slot.items():
            if len(by_slot) > 1:
                why, is_down = await self._try(source, one.open(of_slot), one)
                if is_down:
                    return False
                if why is None:
                    one.in_a_row = 0
                    continue
            one.failed.add(slot)
            one.in_a_row += 1
            if one.in_a_row >= MAX_ASIDE:
                return False
        return True

    async def _try(self, source: Source, works: Sequence[Work], one: Round) -> tuple[str | None, bool]:
        """Have one transaction with all of it; why not, and whether nothing else can be had either."""
        if not works:
            return None, False
        try:
            await self._commit(source, works, one)
        except SourceRefusedError:
            return await self._try_singly(source, works, one)
        except (SourceError, LeaseLostError) as error:
            return str(error), isinstance(error, SourceDownError)
        one.done += works
        one.settle(works)
        return None, False

    async def _try_singly(self, source: Source, works: Sequence[Work], one: Round) -> tuple[str | None, bool]:
        """One of them is refused: find it, and have the others."""
        for work in works:
            if work.slot in one.failed:
                continue
            try:
                await self._commit(source, [work], one)
                one.done.append(work)
                one.settle([work])
            except SourceRefusedError as error:
                if await self._streams.bury(work, f"refused: {error}"):
                    one.settle([work])
                else:
                    one.failed.add(work.slot)
            except (SourceError, LeaseLostError) as error:
                return str(error), isinstance(error, SourceDownError)
        return None, False

    async def _commit(self, source: Source, works: Sequence[Work], one: Round) -> None:
        began = trio.current_time()
        writes = [write for work in works if (write := work.write()) is not None]
        if writes:
            async with source.writing_all(writes) as transaction:
                await self._streams.hold([work.taken for work in works], one)
                await transaction.commit()
        for work in works:
            counts = self._statistics.rule(work.plan.cluster, work.plan.match)
            counts.drained += 1
            counts.write_times.add(trio.current_time() - began)

    def _tell(self, cluster: str, batch: Sequence[Work], why: str) -> None:
        for match in {work.plan.match for work in batch}:
            self._statistics.rule(cluster, match).retried += 1
        if self._why.get(cluster) != why:
            self._why[cluster] = why
            log.warning("writes wait for their database", cluster=cluster, notes=len(batch), why=why)
