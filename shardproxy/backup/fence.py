"""All shards at one moment: writes wait everywhere until every node that is read has forked.

    hold writes ─> every proxy holds ─> replicas have it all ─> ask for RDBs ─> all have forked ─> let go

What takes longer than its budget is given up: then the RDBs are of moments of their own, and the backup
says so. Letting go is a write to the store as holding is: none is begun while that is slow, and its time is
kept back from the budget. A store that is lost meanwhile holds writes until it is back, or clients give up.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import structlog
import trio

from shardproxy.archive.manifest import Cut
from shardproxy.backup.nodes import NODE_ERRORS, offset_of, wait_offset
from shardproxy.backup.sources import Source
from shardproxy.failover.interfaces import FenceError, Nodes, NotSettledError, SlotDesk
from shardproxy.model import Hold
from shardproxy.model.replication import Role, ShardKey
from shardproxy.model.together import each
from shardproxy.replication.interface import SnapshotStatus
from shardproxy.store.interface import MAX_TOGETHER, StoreUnavailableError
from shardproxy.store.record import ShardRecord

BUDGET = 0.5  # seconds that writes wait at most
HOLD_WITHIN = 0.2  # seconds within which all proxies hold, and nothing is under way any more
TRIES = 4  # to have all proxies hold
BACKOFF = (0.25, 0.5, 1.0)  # seconds between these
STORE_SHARE = 0.25  # of the budget is what letting go may take, by how long the store took last
RELEASE_RETRY = 0.05  # seconds
RELEASE_WITHIN = 5.0  # seconds, for who is stopped; the next leader drops what is left

log = structlog.get_logger()


class NotFencedError(Exception):
    """Writes could not be held in time; the text says why."""


@dataclass(frozen=True, slots=True)
class Fence:
    """Holds the writes of some shards."""

    desk: SlotDesk
    nodes: Nodes
    sources: Sequence[Source]
    write: Callable[[], Awaitable[object]]  # something to the store, durably; raise StoreUnavailableError
    budget: float = BUDGET

    async def cut(
        self, start: Callable[[], None], forked: Callable[[], Awaitable[Sequence[SnapshotStatus]]]
    ) -> Cut:
        """Start the reading of all nodes at one moment; without a fence where there can be none.

        `start` asks for all RDBs and does not wait; `forked` returns when all of them have their moment, and
        which: one for each source.
        """
        why = ""
        for pause in (0.0, *BACKOFF)[:TRIES]:
            await trio.sleep(pause)
            if (slow := self._why_slow(await self._store_takes())) is not None:
                why = slow
                log.warning("backup not fenced", cluster=self.desk.cluster, why=why)
                continue
            held = _Held(trio.current_time())
            try:
                async with _writes_held(self.desk, self._keys, held, held.since + self.budget):
                    takes = trio.current_time() - held.since
                    if (slow := self._why_slow(takes)) is not None:
                        raise NotFencedError(slow)
                    with trio.fail_at(held.since + self.budget - takes):
                        fenced = await self._settle()
                        held.has_started = True
                        start()
                        moments = await forked()
                        why = why_not_one_moment(self.sources, fenced, self.desk.records, moments)
            except (trio.TooSlowError, NotFencedError, FenceError, NotSettledError, *NODE_ERRORS) as e:
                why = self._why(e)
                log.warning(
                    "backup not fenced", cluster=self.desk.cluster, why=why, held=round(held.seconds, 3)
                )
                if held.has_started:
                    return Cut(is_fenced=False, why=why, held=held.seconds)
                continue
            if why:
                log.warning("backup not fenced", cluster=self.desk.cluster, why=why)
            return Cut(is_fenced=not why, why=why, held=held.seconds)
        start()
        return Cut(is_fenced=False, why=why)

    async def _store_takes(self) -> float:
        """Seconds for all records, by how long it takes to write something else."""
        began = trio.current_time()
        await self.write()
        return (trio.current_time() - began) * len(list(_batches(self._keys)))

    def _why_slow(self, takes: float) -> str | None:
        if takes <= self.budget * STORE_SHARE:
            return None
        return (
            f"the store takes {takes * 1000:.0f} ms to write: writes might have waited for longer than"
            f" {self.budget * 1000:.0f} ms"
        )

    async def _settle(self) -> Mapping[ShardKey, Fenced]:
        """Nothing that writes is under way, and the nodes that are read have all that was written."""
        await self.desk.wait_served(self._keys, within=HOLD_WITHIN)
        records = {key: self.desk.records[key] for key in self._keys}
        fenced: dict[ShardKey, Fenced] = {}

        async def catch_up(source: Source) -> None:
            offset = await offset_of(self.nodes, source.primary, self.budget)
            if source.role is Role.REPLICA:
                await wait_offset(self.nodes, source.address, offset, self.budget)
            fenced[source.key] = Fenced(records[source.key], offset)

        await each(catch_up, self.sources)
        return fenced

    @property
    def _keys(self) -> list[ShardKey]:
        return [source.key for source in self.sources]

    def _why(self, error: Exception) -> str:
        if isinstance(error, trio.TooSlowError):
            return f"not all nodes had forked within {self.budget * 1000:.0f} ms of held writes"
        return str(error) or type(error).__name__


@dataclass(frozen=True, slots=True)
class Fenced:
    """A shard when nothing of it was under way any more."""

    record: ShardRecord
    offset: int  # of its history: all that was written


def why_not_one_moment(
    sources: Iterable[Source],
    fenced: Mapping[ShardKey, Fenced],
    records: Mapping[ShardKey, ShardRecord],
    moments: Iterable[SnapshotStatus],
) -> str:
    """Why what has forked may not be of one moment, although writes were held; empty = it is. Pure."""
    for source, moment in zip(sources, moments, strict=True):
        then, now = fenced[source.key], records.get(source.key)
        if now is None or now.hold is None or now.hold != then.record.hold:
            return f"shard {source.label} was let go before all nodes had forked"
        if (now.epoch, now.primary) != (then.record.epoch, source.primary):
            return f"shard {source.label} failed over before all nodes had forked"
        if moment.offset < then.offset:
            return (
                f"{source.address} forked at {moment.offset} of its history, and shard {source.label} had"
                f" {then.offset} when its writes were held"
            )
    return ""


class _Held:
    def __init__(self, since: float) -> None:
        self.since = since  # trio's clock
        self.seconds = 0.0
        self.has_started = False


@asynccontextmanager
async def _writes_held(
    desk: SlotDesk, keys: Sequence[ShardKey], held: _Held, deadline: float
) -> AsyncIterator[None]:
    """The writes of these shards wait in it; TooSlowError when the store is slow."""
    try:
        with trio.fail_at(deadline):
            for some in _batches(keys):
                await desk.change(dict.fromkeys(some, _with_hold))
        yield
    finally:  # it may be on record whatever happened
        await _let_go(desk, keys)
        held.seconds = trio.current_time() - held.since


async def _let_go(desk: SlotDesk, keys: Sequence[ShardKey]) -> None:
    """Tried for as long as this process leads: writes that wait for nothing are worse than any backup."""
    is_done = False
    with trio.CancelScope(shield=True, deadline=trio.current_time() + RELEASE_WITHIN):
        await _take_hold_away(desk, keys)
        is_done = True
    if not is_done:
        await _take_hold_away(desk, keys)


async def _take_hold_away(desk: SlotDesk, keys: Sequence[ShardKey]) -> None:
    """All batches are tried before any is tried again: one that has to wait holds up no other."""
    left = list(_batches(keys))
    while left:
        failed = []
        for some in left:
            try:
                await desk.change(dict.fromkeys(some, _without_hold))
            except (NotSettledError, StoreUnavailableError):
                failed.append(some)
        if left := failed:
            await trio.sleep(RELEASE_RETRY)


def _batches(keys: Sequence[ShardKey]) -> Iterator[Sequence[ShardKey]]:
    """As many as can be changed together."""
    return (keys[at : at + MAX_TOGETHER] for at in range(0, len(keys), MAX_TOGETHER))


def _with_hold(record: ShardRecord) -> ShardRecord:
    return replace(record, hold=Hold(record.slots, only_writes=True))


def _without_hold(record: ShardRecord) -> ShardRecord:
    return replace(record, hold=None)
