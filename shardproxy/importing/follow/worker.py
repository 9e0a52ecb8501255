"""The job `import`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import trio

from shardproxy.failover.interfaces import SlotDesk
from shardproxy.importing.access import Access
from shardproxy.importing.errors import ForeignError
from shardproxy.importing.find import find
from shardproxy.importing.follow.copies import Copies, copy_plan
from shardproxy.importing.follow.functions import functions_copy
from shardproxy.importing.follow.ready import lines_of, why_not_import
from shardproxy.importing.found import Found, Kind
from shardproxy.importing.means import Means
from shardproxy.importing.targets import Owner, owners_of, owners_wait
from shardproxy.importing.wants import ImportWants
from shardproxy.jobs.interface import JobError, Work
from shardproxy.replication.interface import CopyError, CopyPhase, CopyStatus
from shardproxy.replication.leases import claim_new, kept, lease_until

TRIES = 5  # that came no further than the one before
PAUSE = 2.0  # seconds before another one
LOOK = 0.5  # seconds between looks at how far it is
FIND_EVERY = 5.0  # seconds between questions who has the source's shards now


class ImportWorker:
    """See Worker."""

    kind = "import"

    def __init__(self, means: Means) -> None:
        self._means = means

    def check(self, cluster: str, wants: Mapping[str, Any]) -> Mapping[str, Any]:
        return self._wants(cluster, wants).json()

    def can_finish(self, wants: Mapping[str, Any]) -> bool:
        """See Worker."""
        return wants.get("follow") is True

    async def plan(self, desk: SlotDesk, wants: Mapping[str, Any]) -> Mapping[str, Any]:
        asked = self._wants(desk.cluster, wants)
        owners = owners_of(desk.records)
        try:
            found = await find(asked.foreign, await _access(asked))
        except ForeignError as error:
            raise JobError(str(error)) from None
        facts = await self._means.facts(desk.cluster, owners)
        if whys := list(why_not_import(found, asked, facts, is_ours=False)):
            raise JobError("; ".join(whys))
        return {
            "lines": lines_of(found, asked, owners, desk.cluster, facts),
            "keys": found.keys.get(asked.foreign.database, 0),
            "bytes": found.used_memory,
            "shards": len(owners),
        }

    async def run(self, desk: SlotDesk, work: Work) -> Mapping[str, Any]:
        importing = _Import(self._means, desk, work, self._wants(desk.cluster, work.job.wants))
        return await importing.run()

    def _wants(self, cluster: str, wants: Mapping[str, Any]) -> ImportWants:
        return ImportWants.read(wants).check(self._means.allowed_of(cluster))


async def _access(asked: ImportWants) -> Access:
    return await trio.to_thread.run_sync(Access.read, asked.foreign)


class _Import:
    """One import: copiers begin anew whenever what they read from or write to is not the same any more."""

    def __init__(self, means: Means, desk: SlotDesk, work: Work, asked: ImportWants) -> None:
        self._means, self._desk, self._work, self._asked = means, desk, work, asked
        self._reached = 0  # keys, of the try that came furthest
        self._copies: Copies | None = None

    async def run(self) -> Mapping[str, Any]:
        failed = 0
        while not self._work.is_aborted:
            why = await self._try()
            if why is None:
                return self._result("imported")
            if why:
                keys = self._keys()
                failed = 0 if keys > self._reached else failed + 1
                self._reached = max(self._reached, keys)
                if failed >= TRIES or (self._copies is not None and self._copies.is_hopeless):
                    raise JobError(
                        f"{why}. The old one is untouched; {keys} keys are in the cluster: import again with"
                        " --replace once that is mended"
                    )
                self._work.show("trying again", text=why)
                await trio.sleep(PAUSE)
            await self._work.wait_resumed()
        result = self._result("given up")
        return {**result, "text": f"{result['text']}, which stay: FLUSHALL empties the cluster"}

    async def _try(self) -> str | None:
        """None when it is done, empty when it was interrupted, else why it failed; raise JobError."""
        self._work.show("looking")
        owners = await owners_wait(self._desk)
        try:
            access = await _access(self._asked)
            found = await find(self._asked.foreign, access)
        except ForeignError as error:
            return str(error)
        await self._check(found, owners)
        self._copies = copies = Copies(found, access)
        cluster = self._desk.cluster
        targets, families = self._means.targets(cluster, owners), self._means.families_of(cluster)
        try:
            await self._copy_functions(owners)
            claim, until = claim_new(cluster, self._desk.term), lease_until(self._desk.covers)
            plans = [
                copy_plan(shard, self._asked, access, targets, families, claim, until)
                for shard in found.shards
            ]
            copies.start(self._means.start_copier, plans)
            async with kept(copies.copiers, self._desk.covers):
                return await self._watch(copies, owners)
        except (ForeignError, CopyError) as error:
            return str(error)
        finally:
            with trio.CancelScope(shield=True):
                await copies.stop()

    async def _check(self, found: Found, owners: tuple[Owner, ...]) -> None:
        is_ours = bool(self._work.job.memo.get("began"))
        facts = await self._means.facts(self._desk.cluster, owners)
        if whys := list(why_not_import(found, self._asked, facts, is_ours=is_ours)):
            raise JobError("; ".join(whys) + ("" if is_ours else ". Nothing was imported"))
        if not is_ours:
            await self._work.save({"began": True})  # what is there from here on may be of this import

    async def _copy_functions(self, owners: tuple[Owner, ...]) -> None:
        copies = self._copies
        if not self._asked.functions or copies is None or copies.found.kind is Kind.PROXY:
            return
        async with copies.access.links() as source, self._means.links_of(self._desk.cluster) as target:
            primary = copies.found.shards[0].primary
            await functions_copy(source, primary, target, [owner.primary for owner in owners])

    async def _watch(self, copies: Copies, owners: tuple[Owner, ...]) -> str | None:
        """As `_try`; raise CopyError or ForeignError."""
        find_at = trio.current_time() + FIND_EVERY
        while True:
            self._show(copies)
            if (why := copies.why_failed) is not None:
                return why
            if not self._asked.follows and copies.is_finished:
                return None
            if self._work.is_aborted or self._work.is_paused:
                return ""
            if self._changed(owners):
                return ""  # a shard that has another primary may lack what the last one had
            if self._work.is_finishing and await self._finish(copies, owners):
                return None
            if trio.current_time() >= find_at:
                await self._look(copies)
                find_at = trio.current_time() + FIND_EVERY
            await trio.sleep(LOOK)

    def _changed(self, owners: tuple[Owner, ...]) -> bool:
        try:
            return owners_of(self._desk.records) != owners
        except JobError:
            return True

    async def _look(self, copies: Copies) -> None:
        """Who has the source's shards now; raise ForeignError where slots have moved there."""
        try:
            found = await find(self._asked.foreign, copies.access)
        except ForeignError:
            return  # the copiers say whether that is trouble
        await copies.take(found)

    async def _finish(self, copies: Copies, owners: tuple[Owner, ...]) -> bool:
        """Have the last changes, and say whether that is all; else it goes on as before, and says why."""
        if not copies.is_close:
            await self._work.keep_on(f"it is not finished: {_phases(copies.statuses)}; try again later")
            return False
        self._work.show("finishing", text="the last changes, and a sample of both sides compared")
        try:
            # who was the primary a moment ago may be cut off, and tell of changes that nobody will ever have
            await copies.take(await find(self._asked.foreign, copies.access))
            compared = await copies.settle()
            await self._copy_functions(owners)
        except (CopyError, ForeignError) as error:
            await self._work.keep_on(f"it is not finished: {error}")
            return False
        self._compared = compared
        return True

    _compared = 0

    def _keys(self) -> int:
        return sum(status.keys for status in self._copies.statuses) if self._copies is not None else 0

    def _show(self, copies: Copies) -> None:
        statuses = copies.statuses
        scanned, total = sum(s.scanned for s in statuses), sum(s.total for s in statuses)
        if copies.is_close:
            self._work.show(
                "following", what="keys", done=self._keys(), text=self._said(f"dirty {copies.dirty}")
            )
        else:
            text = self._said(_phases(statuses))
            self._work.show(
                statuses[0].phase.value, what="keys", done=min(scanned, total), total=total, text=text
            )

    def _said(self, text: str) -> str:
        kept = self._work.why_kept_on
        return f"{text}; {kept}" if kept else text

    def _result(self, how: str) -> dict[str, Any]:
        statuses = self._copies.statuses if self._copies is not None else ()
        keys = self._keys()
        said = f"{keys} keys {how}" + (f", {self._compared} compared and equal" if self._compared else "")
        return {
            "keys": keys,
            "bytes": sum(status.bytes for status in statuses),
            "compared": self._compared,
            "passes": max((status.passes for status in statuses), default=0),
            "text": said,
        }


def _phases(statuses: tuple[CopyStatus, ...]) -> str:
    """Where the shards are, and what holds one up."""
    counts: dict[CopyPhase, int] = {}
    for status in statuses:
        counts[status.phase] = counts.get(status.phase, 0) + 1
    said = ", ".join(f"{count} {phase.value}" for phase, count in counts.items())
    said_of = [why for status in statuses for why in (status.why, status.unguarded) if why]
    whys = "; ".join(dict.fromkeys(said_of))
    return f"shards: {said}" + (f"; {whys}" if whys else "")
