"""What moves slots, or copies all shards at one moment, does through this while a process leads.

begin   what the last leader held waits no more, and who has which slots is on record
change  several records at once, when they are settled
run     keeps the map on record as it is served, and takes away holds that nobody takes away
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
import trio

from shardproxy.failover.interfaces import FenceError, Fencer, LeaderService, NotSettledError
from shardproxy.failover.led import Change, LedRecords
from shardproxy.failover.setup import ShardSetup
from shardproxy.model import Hold
from shardproxy.model.board import LATER, Board, News
from shardproxy.model.replication import ShardKey
from shardproxy.model.seal import seal_script
from shardproxy.model.slots import Slots, slots_removed
from shardproxy.store.interface import ConflictError, LeadershipLostError, StoreUnavailableError
from shardproxy.store.member import serving_beside
from shardproxy.store.record import ShardRecord, ShardState

SETTLES_WITHIN = 5.0  # seconds; a failover that takes longer is stuck
HELD_MOST = 5.0  # seconds; clients give up before that, so who holds longer has forgotten it
TRIES = 3  # at a record that is not as it was read
BYPASSED = "its clients talk to its nodes (mode: direct), where nothing can be held for them"
PAUSE = 1.0  # seconds between tries to reach the store, or to run what crashed

Records = Mapping[ShardKey, ShardRecord]

log = structlog.get_logger()


@dataclass(slots=True)
class LeaderDesk:
    """One leader's SlotDesk."""

    led: LedRecords
    fencer: Fencer
    _fenced: dict[ShardKey, Hold] = field(default_factory=dict)  # on record, and so at every proxy

    @property
    def cluster(self) -> str:
        return self.led.cluster

    @property
    def term(self) -> int:
        return self.led.leadership.revision

    @property
    def setups(self) -> Mapping[ShardKey, ShardSetup]:
        return self.led.configured

    @property
    def records(self) -> Records:
        return self.led.records

    def covers(self, seconds: float) -> bool:
        """As SlotDesk says."""
        return self.led.leadership.covers(seconds)

    @property
    def lingers(self) -> float:
        return self.led.store.lingers

    def seals(self, record: ShardRecord, latest: int = 1) -> tuple[str, ...]:
        """As SlotDesk says."""
        if not self.lingers:
            return ()
        generations = range(record.generation, max(-1, record.generation - latest), -1)
        return tuple(seal_script(self.led.store.group, record.key, number) for number in generations)

    @property
    def wrote_in(self) -> float:
        return self.led.store.statistics.last_seconds

    async def change(self, changes: Mapping[ShardKey, Change]) -> None:
        """As SlotDesk says."""
        news, board = News(), self.led.store.records
        for key in changes:
            board.subscribe(news, key)
        try:
            deadline, tries = trio.current_time() + SETTLES_WITHIN, TRIES
            while True:
                try:
                    why_not = await self._try(changes)
                except ConflictError as error:
                    tries -= 1
                    if not tries:
                        raise StoreUnavailableError(str(error)) from error
                    why_not = str(error)
                if why_not is None:
                    return
                if trio.current_time() >= deadline:
                    raise NotSettledError(why_not)
                with trio.move_on_at(deadline):
                    await news.wait()
        finally:
            for key in changes:
                board.unsubscribe(news, key)

    async def _try(self, changes: Mapping[ShardKey, Change]) -> str | None:
        """Make the change; or say why it has to wait."""
        missing = [str(key) for key in changes if key not in self.records]
        if missing:
            await trio.lowlevel.checkpoint()
            return f"{', '.join(missing)}: not on record yet: nobody knows its primary"
        why_not = await self.led.change(changes, self._why_not)
        if why_not is None:
            for key in changes:
                if self.records[key].hold != self._fenced.get(key):
                    self._fenced.pop(key, None)
        return why_not

    def _why_not(self, before: Records, after: Records) -> str | None:
        for key, record in before.items():
            now = after[key]
            if record.state is not ShardState.OK and not _is_release(record, now):
                return f"{key} has no primary now: {record.state.value}"
            is_mixing = now.is_mixed and not record.is_mixed
            left = slots_removed(record.slots, now.slots)
            if left and (why := self._why_not_leave(key, record, left)) is not None:
                raise NotSettledError(f"{key}: {why}")
            if is_mixing and (setup := self.setups.get(key)) is not None and setup.is_bypassed:
                raise NotSettledError(f"{key}: {BYPASSED}")
            if (is_mixing or slots_removed(now.slots, record.slots)) and (who := self._who_lacks(key)):
                raise NotSettledError(
                    f"{key}: {', '.join(who)} has an older config, without that shard, or has not said:"
                    " give it the same one"
                )
        return None

    def _why_not_leave(self, key: ShardKey, record: ShardRecord, left: Slots) -> str | None:
        hold = record.hold
        if hold is None or hold.only_writes or slots_removed(left, hold.slots):
            return "slots cannot leave it, as requests for them do not wait (any more)"
        if self._fenced.get(key) != hold:
            return "slots cannot leave it before every proxy holds them"
        return None

    def _who_lacks(self, key: ShardKey) -> list[str]:
        """Live proxies that have shards of the cluster, and not this one: they would not serve its slots.

        One that has begun to serve the cluster, and has not said of any shard that it watches it, may be one.
        """
        store = self.led.store
        beside = serving_beside(store.member, key.cluster, store.members)
        voted: dict[str, set[ShardKey]] = {
            member.name: set() for member in beside if (member.name, key) not in store.acks
        }
        for name, about in store.votes:
            if about.cluster == key.cluster and name in store.members and name != store.member:
                voted.setdefault(name, set()).add(about)
        return sorted(name for name, keys in voted.items() if key not in keys)

    async def wait_served(self, keys: Iterable[ShardKey], *, within: float) -> None:
        """As SlotDesk says."""
        records = {key: self.records[key] for key in keys}
        failed: list[str] = []

        async def wait(record: ShardRecord) -> None:
            try:
                await self.fencer.wait_everywhere(record, within=within)
            except FenceError as error:
                failed.append(str(error))

        async with trio.open_nursery() as nursery:
            for record in records.values():
                nursery.start_soon(wait, record)
        failed += [why for key, record in records.items() if (why := self._why_not_as(key, record))]
        if failed:
            raise FenceError("; ".join(sorted(failed)))
        for key, record in records.items():
            if record.hold is not None:
                self._fenced[key] = record.hold

    def _why_not_as(self, key: ShardKey, record: ShardRecord) -> str | None:
        """Why what waits there says nothing: what is under way at a shard that fails over is not known."""
        now = self.records.get(key)
        if record.hold is None:
            return None
        if now is None or now.hold != record.hold:
            return f"{key}: is not held any more"
        if {record.state, now.state} != {ShardState.OK} or now.epoch != record.epoch:
            return f"{key}: fails over"
        return None

    # --- what the leader does by itself ---

    async def run(self, services: Iterable[LeaderService]) -> None:
        """Begin, and serve while this process leads; raise LeadershipLostError."""
        await _until_done(self._begin)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_map)
            nursery.start_soon(self._run_holds)
            for service in services:
                nursery.start_soon(self._serve, service)

    async def _begin(self) -> None:
        """What waited for the leader before waits no more: its work is gone on with from its notes."""
        if await self._release():
            log.warning("a hold of the leader before was taken away", cluster=self.cluster)
        await self.led.mend()

    async def _release(self) -> bool:
        self._fenced.clear()
        return await self.led.release()

    async def _run_map(self) -> None:
        """Have it on record who has which slots, whenever shards are configured or put on record."""
        news = News()
        boards: tuple[Board[Any, Any], ...] = (self.led.setups, self.led.store.records)
        for board in boards:
            board.subscribe(news, patience=LATER)
        try:
            while True:
                await _until_done(self.led.mend)
                await news.wait()
        finally:
            for board in boards:
                board.unsubscribe(news)

    async def _run_holds(self) -> None:
        """Take away what is held for so long that whoever held it must have forgotten it."""
        since: dict[ShardKey, tuple[Hold, float]] = {}
        news, board = News(), self.led.store.records
        board.subscribe(news, patience=LATER)
        try:
            while True:
                now = trio.current_time()
                held = {key: record.hold for key, record in self.records.items() if record.hold is not None}
                since = {
                    key: since[key] if key in since and since[key][0] == hold else (hold, now)
                    for key, hold in held.items()
                }
                until = min((at + HELD_MOST for _, at in since.values()), default=math.inf)
                if until <= now:
                    log.error("held for too long, and let go of", shards=[str(key) for key in since])
                    await _until_done(self._release)
                    continue
                with trio.move_on_at(until):
                    await news.wait()
        finally:
            board.unsubscribe(news)

    async def _serve(self, service: LeaderService) -> None:
        """Whatever ails it, the cluster is tended on; what it held waits no more."""
        while True:
            try:
                await service(self)
                return
            except* LeadershipLostError:
                raise
            except* Exception as error:
                log.error("crashed, begins anew", what="service of the leader", exc_info=error)
            await _until_done(self._release)
            await trio.sleep(PAUSE)


async def _until_done(change: Callable[[], Awaitable[object]]) -> None:
    """Have it done, however long the store is away; raise LeadershipLostError."""
    is_down = False
    while True:
        try:
            await change()
            return
        except (StoreUnavailableError, ConflictError) as error:
            if not is_down:
                log.warning("holds and slots cannot be put on record", why=str(error))
            is_down = True
        await trio.sleep(PAUSE)


def _is_release(before: ShardRecord, now: ShardRecord) -> bool:
    """Whether it only lets go: that is right at any time."""
    lets_go = now.hold in (None, before.hold) and (before.is_mixed or not now.is_mixed)
    return lets_go and now.slots == before.slots
