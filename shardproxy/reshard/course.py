"""How far one leg is: on record, shown to who watches, and whether it may go on.

Every step is on record before anything of it is done, and can be begun again by the next leader.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import structlog
import trio

from shardproxy.failover.interfaces import SlotDesk
from shardproxy.jobs.interface import Work
from shardproxy.model.replication import ShardKey
from shardproxy.replication.interface import CopyDiffersError
from shardproxy.reshard.fence import DifferentError
from shardproxy.reshard.memo import Leg, Step
from shardproxy.reshard.ownership import why_not_the_sources
from shardproxy.reshard.parts import Engines, Parts
from shardproxy.reshard.settings import CarrySettings
from shardproxy.store.interface import StoreUnavailableError
from shardproxy.store.record import ShardRecord

log = structlog.get_logger()


class StoppedError(Exception):
    """The move cannot go on; the source has the slots as before."""


class AbandonedError(Exception):
    """An operator gave it up before anything was published."""


Saved = Callable[[Leg], Awaitable[None]]


@dataclass(slots=True)
class Course:
    """One leg's. `save` makes it durable."""

    desk: SlotDesk
    work: Work
    parts: Parts
    engines: Engines
    leg: Leg
    save: Saved
    title: str
    rate: int = 0
    settings: CarrySettings = field(default_factory=CarrySettings)
    families: tuple[tuple[str, str], ...] = field(init=False)  # by which this leg tells keys' slots
    why: str = "the target changes again and again"  # the last copy was of no use
    differences: int = 0  # so many copies differed

    def __post_init__(self) -> None:
        self.families = self.engines.families

    async def step(self, step: Step, **changes: Any) -> None:
        self.leg = self.leg.at(step, **changes)
        await self.keep()

    async def keep(self) -> None:
        """As often as it takes: nothing is done before it is on record."""
        while True:
            try:
                return await self.save(self.leg)
            except StoreUnavailableError as error:
                self.show(f"the store is not available: {error}")
                await trio.sleep(self.settings.retry)

    def show(self, text: str = "", *, done: int = 0, total: int = 0) -> None:
        stage = self.leg.step.value.replace("_", " ")
        self.work.show(
            stage, what="keys", done=done, total=total, text=f"{self.title}: {text}" if text else self.title
        )

    def record(self, key: ShardKey) -> ShardRecord:
        """Raise StoppedError where the config has lost the shard."""
        if key not in self.desk.setups:
            raise StoppedError(f"shard {key.index} is not in the config any more")
        return self.desk.records[key]

    def raise_if_owned_otherwise(self) -> None:
        """Nothing is taken away at a target that owns some of the slots by now."""
        self.raise_if_other_families()
        if (why_not := why_not_the_sources(self.desk.records, self.leg.move)) is not None:
            raise StoppedError(why_not)

    def raise_if_other_families(self) -> None:
        """Keys have other slots by these: what is copied is not what would have to be."""
        if self.engines.families != self.families:
            raise StoppedError("the key families of the config have changed meanwhile: begin a new job")

    def raise_if_aborted(self) -> None:
        if self.work.is_aborted:
            raise AbandonedError

    def in_vain(self, why: str) -> None:
        self.why = why
        log.info("copied in vain", cluster=self.desk.cluster, why=why)

    def differed(self, error: DifferentError | CopyDiffersError) -> None:
        """Have it copied anew: a short time to live that ends on one side first looks like this, once."""
        self.differences += 1
        self.in_vain(f"the copy differs: {error}")
        if self.differences >= self.settings.differing:
            raise StoppedError(
                f"{self.differences} times copied, and not what the source has: {error}"
            ) from error
