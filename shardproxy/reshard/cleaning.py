"""Takes away what a leg leaves: the source's keys once the target owns the slots, or the target's copies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import trio

from shardproxy.failover.interfaces import NotSettledError, SlotDesk
from shardproxy.model.replication import ShardKey
from shardproxy.model.slots import slots_each
from shardproxy.reshard.fence import hold_drop, identity_of
from shardproxy.reshard.lingering import Lingering
from shardproxy.reshard.memo import Leg
from shardproxy.reshard.parts import Engines
from shardproxy.reshard.replicas import replicas_wait
from shardproxy.reshard.settings import OUT_OF_REACH, CarrySettings
from shardproxy.reshard.sweep import UNLINKS_WITHIN, sweep
from shardproxy.store.record import ShardRecord

LOOK, LOOKS = 0.05, 60  # seconds between looks at the lease, and how often


class Show(Protocol):
    def __call__(self, text: str = "", *, done: int = 0, total: int = 0) -> None: ...


@dataclass(frozen=True, slots=True)
class Cleaning:
    """One leg's."""

    desk: SlotDesk
    engines: Engines
    leg: Leg
    show: Show
    settings: CarrySettings
    is_given_up: Callable[[], bool] = lambda: False  # by an operator, by now

    async def at_source(self) -> tuple[int, str]:
        """Take away what the source has of the slots, once no proxy sends it requests for them.

        How many keys, and what is left undone: a source that is gone for good is waited for until the job is
        given up, or the shard is not in the config any more.
        """
        move, given, tries = self.leg.move, Lingering(self.desk), self.settings.undo_tries
        while True:
            try:
                self.show("waiting for every proxy to serve the new owner")
                await hold_drop(self.desk, move)
                await self.desk.wait_served((move.source, move.target), within=self.settings.serve_within)
                given.served()
                await given.wait()
                removed = await self._sweep(move.source)
                await self._unmix(move.source)
                return removed, ""
            except OUT_OF_REACH as error:
                if self.is_given_up() or move.source not in self.desk.setups:
                    tries -= 1
                if tries <= 0:
                    left = f"what shard {move.source.index} had of them is still there, hidden ({error})"
                    return 0, f"{left}: the next job there removes it{await self._unmix_one(move.target)}"
                self.show(f"tried again: {error}")
                await trio.sleep(self.settings.retry)

    async def undo(self) -> str:
        """Take the target's copies away; what cannot be taken away stays hidden."""
        move, why = self.leg.move, self.leg.why
        for _ in range(self.settings.undo_tries):
            try:
                await hold_drop(self.desk, move)
                await self._sweep(move.target)
                await self._unmix(move.target)
                break
            except OUT_OF_REACH as error:
                self.show(f"taking back what was copied: {error}")
                last = str(error)
                await trio.sleep(self.settings.retry)
        else:
            why += f"; what was copied is still at the target, hidden ({last}): the next job there removes it"
            why += await self._unmix_one(move.source)
        return why

    async def _unmix_one(self, key: ShardKey) -> str:
        """Have a shard hide nothing, as it has nothing that is not its own; or say that it still does."""
        if key in self.leg.mixed_before or key not in self.desk.records:
            return ""
        why = ""
        for _ in range(self.settings.undo_tries):
            try:
                await self.desk.change({key: unmixed})
                return ""
            except OUT_OF_REACH as error:
                why = str(error)
                await trio.sleep(self.settings.retry)
        return f"; shard {key.index} counts as mixed until then too ({why})"

    async def _sweep(self, key: ShardKey) -> int:
        """Take away the leg's keys at a shard that does not own them, and older leftovers."""
        record = self.desk.records[key]
        if record.primary is None:
            raise NotSettledError(f"shard {key} has no primary now")
        strays = strays_of(self.leg, key)
        slots, owned = record.slots, set(slots_each(record.slots))

        def is_stray(name: bytes) -> bool:
            slot = self.engines.slot_of(name)
            return slot not in owned and (strays is None or slot in strays)

        async def may_go_on() -> None:
            """The process may serve another shard as soon as it is not this one's primary."""
            nonlocal slots, owned
            await self._lead_wait()
            now = self.desk.records[key]
            if identity_of(now) != identity_of(record):
                raise NotSettledError(f"shard {key} has another primary now")
            if now.slots != slots:
                slots, owned = now.slots, set(slots_each(now.slots))

        removed = await sweep(
            self.engines.nodes,
            record.primary,
            record.run_id,
            is_stray,
            may_go_on=may_go_on,
            told=lambda looked, removed: self.show(f"{removed} keys removed", done=looked),
        )
        await replicas_wait(self.engines.nodes, record.primary, record.run_id, len(record.promise.voters))
        return removed

    async def _lead_wait(self) -> None:
        """A lease that is about to run out is about to be renewed; raise NotSettledError when it is not."""
        for _ in range(LOOKS):
            if self.desk.covers(UNLINKS_WITHIN):
                return
            await trio.sleep(LOOK)
        raise NotSettledError("another process may lead soon: no key is removed before that is clear")

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


def unmixed(record: ShardRecord) -> ShardRecord:
    return replace(record, is_mixed=False)
