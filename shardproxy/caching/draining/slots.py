"""The slots of a cluster that have something to drain, and those that are left alone for a while."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import trio

from shardproxy.caching.draining.rounds import Round

FIRST_PAUSE = 0.05  # seconds until what failed is tried again
LONGEST_PAUSE = 5.0
BUSY = 1.0  # seconds until a slot that another proxy drains is looked at again: it may have died


@dataclass(slots=True)
class Slots:
    """In the order of their notes."""

    waiting: dict[int, None] = field(default_factory=dict)
    aside: dict[int, float] = field(default_factory=dict)  # that failed, and until when they are left alone
    pauses: dict[int, float] = field(default_factory=dict)  # for how long they last were
    busy: dict[int, float] = field(default_factory=dict)  # that another proxy drains, and when to look again
    news: trio.Event = field(default_factory=trio.Event)

    def add(self, slot: int) -> None:
        if slot not in self.aside:
            self.waiting[slot] = None
            self.news.set()

    def set_aside(self, slot: int, now: float) -> None:
        """Leave a slot alone, for longer each time."""
        pause = min(2 * self.pauses[slot], LONGEST_PAUSE) if slot in self.pauses else FIRST_PAUSE
        self.pauses[slot], self.aside[slot] = pause, now + pause
        self.waiting.pop(slot, None)

    async def wait(self) -> None:
        """Return when there is a slot to drain."""
        while True:
            now = trio.current_time()
            for later in (self.aside, self.busy):
                for slot in [slot for slot, until in later.items() if until <= now]:
                    del later[slot]
                    self.add(slot)
            if self.waiting:
                return
            self.news = trio.Event()
            with trio.move_on_at(min((*self.aside.values(), *self.busy.values()), default=math.inf)):
                await self.news.wait()

    def take(self, most: int) -> list[int]:
        taken = list(self.waiting)[:most]
        for slot in taken:
            del self.waiting[slot]
        return taken

    def settle(self, taken: Iterable[int], one: Round, now: float) -> None:
        """What comes next for the slots of a round."""
        for slot in taken:
            if slot in one.failed:
                self.set_aside(slot, now)
                continue
            self.pauses.pop(slot, None)
            if slot in one.busy:
                self.busy[slot] = now + BUSY
            if slot in one.left:
                self.add(slot)
