"""One copier for each shard of the source, each of the slots that are that shard's. Knows no job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import trio

from shardproxy.importing.access import Access
from shardproxy.importing.errors import ForeignError
from shardproxy.importing.facts import Facts, facts_ask
from shardproxy.importing.found import Found, FoundShard
from shardproxy.importing.wants import ImportWants
from shardproxy.model.slots import ALL, slots_common
from shardproxy.nodes import NodeLinks
from shardproxy.replication.interface import (
    Claim,
    Copier,
    CopyError,
    CopyPhase,
    CopyPlan,
    CopyStatus,
    End,
    Target,
)

REACH_WITHIN = 30.0  # seconds for the last changes to arrive
VERIFY_WITHIN = 30.0  # seconds for a sample to be compared
QUIET = 0.5  # seconds in which nobody may write
LOOK = 0.1


def copy_plan(
    shard: FoundShard,
    wants: ImportWants,
    access: Access,
    targets: Sequence[Target],
    families: tuple[tuple[str, str], ...],
    claim: Claim,
    until: float,
) -> CopyPlan:
    """What one shard's copier is to do.

    Each clears what its targets have and its source has not: so it gets no slots but those of its source.
    Where key families give keys other slots than the source does, it may have any, and clears nothing.
    """
    is_apart = shard.slots != ALL and bool(families)
    parts = tuple(
        Target(slots, target.end)
        for target in targets
        if (slots := target.slots if is_apart else slots_common(target.slots, shard.slots))
    )
    return CopyPlan(
        sources=ends(shard, access),
        targets=parts,
        families=families,
        database=wants.foreign.database,
        replaces=not is_apart,
        rate=wants.rate,
        match=wants.match,
        follows=wants.follows,
        claim=claim,
        until=until,
    )


def ends(shard: FoundShard, access: Access) -> tuple[End, ...]:
    return tuple(End(node, access.credentials, access.tls) for node in shard.nodes)


@dataclass(slots=True)
class Copies:
    """All of them, from their start to their end."""

    found: Found
    access: Access
    copiers: list[Copier] = field(default_factory=list)

    def start(self, start: Callable[[CopyPlan], Copier], plans: Sequence[CopyPlan]) -> None:
        for plan in plans:
            self.copiers.append(start(plan))

    @property
    def statuses(self) -> tuple[CopyStatus, ...]:
        return tuple(copier.status for copier in self.copiers)

    @property
    def why_failed(self) -> str | None:
        failed = [status.why for status in self.statuses if status.phase is CopyPhase.FAILED]
        return "; ".join(dict.fromkeys(failed)) or ("a copier failed" if failed else None)

    @property
    def is_hopeless(self) -> bool:
        """Others would fail as one of these has."""
        return any(status.fault is not None and status.fault.is_final for status in self.statuses)

    @property
    def is_finished(self) -> bool:
        """A pass is over that is not to be followed by others."""
        return all(status.phase is CopyPhase.FINISHED for status in self.statuses)

    @property
    def is_close(self) -> bool:
        return all(status.is_close or status.phase is CopyPhase.FINISHED for status in self.statuses)

    @property
    def dirty(self) -> int:
        return sum(status.dirty + status.unanswered for status in self.statuses)

    async def take(self, found: Found) -> None:
        """Other nodes may have the shards now; raise ForeignError when the slots are others."""
        if found.layout != self.found.layout:
            raise ForeignError("its slots were moved between its shards meanwhile: begin the import anew")
        before = {shard.slots: shard for shard in self.found.shards}
        shards = []
        for copier, old in zip(self.copiers, self.found.shards, strict=True):
            now = next(shard for shard in found.shards if shard.slots == old.slots)
            shards.append(now)
            if now.nodes != before[old.slots].nodes:
                await copier.sources(ends(now, self.access))
        self.found = Found(found.kind, tuple(shards), found.facts)

    async def settle(self) -> int:
        """Have all that was written to the source until now, and compare a sample; return how many keys.

        Raise CopyError when that takes too long, when something differs, or when somebody writes meanwhile.
        """
        async with self.access.links() as links:
            before = await self._facts(links)
            for copier, facts in zip(self.copiers, before, strict=True):
                seen = facts.replication
                await copier.reach(seen.offset, seen.lineage.replid, within=REACH_WITHIN)
                await wait_clean(copier, REACH_WITHIN)
            copied = sum(status.keys for status in self.statuses)
            compared = 0
            for copier in self.copiers:
                compared += await copier.verify(within=VERIFY_WITHIN)
            await trio.sleep(QUIET)
            for copier in self.copiers:
                await wait_clean(copier, REACH_WITHIN)
        written = sum(status.keys for status in self.statuses) - copied  # what has expired is not among them
        if written > 0:
            raise CopyError(
                f"{written} keys have changed meanwhile: have everybody stop writing to the old one first"
            )
        return compared

    async def _facts(self, links: NodeLinks) -> list[Facts]:
        """Of the primaries; raise CopyError."""
        try:
            return [await facts_ask(links, shard.primary) for shard in self.found.shards]
        except ForeignError as error:
            raise CopyError(str(error)) from None

    async def stop(self) -> None:
        for copier in self.copiers:
            await copier.stop()


async def wait_clean(copier: Copier, within: float) -> None:
    """Return when nothing is left to be copied again; raise CopyError."""
    with trio.move_on_after(within):
        while True:
            status = copier.status
            if status.phase is CopyPhase.FAILED:
                raise CopyError(status.why, status.fault)
            if status.dirty + status.unanswered == 0 and status.is_close:
                return
            await trio.sleep(LOOK)
    raise CopyError(
        f"{copier.status.dirty} keys are still to be copied again: does somebody write to the old one?"
    )
