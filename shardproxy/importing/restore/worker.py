"""The job `restore`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from shardproxy.config.sizes import format_size
from shardproxy.failover.interfaces import SlotDesk
from shardproxy.importing.means import Means
from shardproxy.importing.readiness import Coming, cautions, why_not
from shardproxy.importing.restore.files import at_hand, described, summed
from shardproxy.importing.restore.load import Loading, result_of
from shardproxy.importing.targets import Owner, owners_of, owners_wait
from shardproxy.importing.wants import RestoreWants
from shardproxy.jobs.interface import JobError, Work
from shardproxy.model.together import unless


class RestoreWorker:
    """See Worker."""

    kind = "restore"

    def __init__(self, means: Means) -> None:
        self._means = means

    def check(self, cluster: str, wants: Mapping[str, Any]) -> Mapping[str, Any]:
        return self._wants(cluster, wants).json()

    def can_finish(self, wants: Mapping[str, Any]) -> bool:
        """See Worker."""
        return False

    async def plan(self, desk: SlotDesk, wants: Mapping[str, Any]) -> Mapping[str, Any]:
        asked = self._wants(desk.cluster, wants)
        owners = owners_of(desk.records)
        restored = await described(self._means, desk.cluster, asked)
        cautious = await self._check(desk.cluster, owners, restored.coming, asked)
        size = format_size(restored.coming.bytes)
        lines = [
            f"restore {restored.title}"
            + (f": {restored.keys} keys, {size}" if restored.manifest is not None else f": {size}"),
            f"into the {len(owners)} shards of {desk.cluster}" if len(owners) > 1 else f"into {desk.cluster}",
        ]
        if restored.cut:
            lines.append(f"its shards are {restored.cut}")
        if restored.leftovers:
            lines.append(f"keys left over from moves of slots, to be skipped: {restored.leftovers}")
        if asked.match is not None:
            lines.append(f"only keys that match {asked.match}")
        if asked.replaces:
            lines.append("keys of the same names are overwritten, others stay")
        if restored.manifest is None:
            lines.append("the files are read whole before anything is written: that is not in this plan")
        lines.append("write nothing to the cluster meanwhile: what is restored wins")
        return {
            "lines": [*lines, *cautious],
            "keys": restored.keys,
            "bytes": restored.coming.bytes,
            "shards": len(owners),
        }

    async def run(self, desk: SlotDesk, work: Work) -> Mapping[str, Any]:
        asked = self._wants(desk.cluster, work.job.wants)
        work.show("looking")
        owners = await owners_wait(desk)
        restored = await described(self._means, desk.cluster, asked)
        memo = dict(work.job.memo)
        has_begun = "loaded" in memo  # what is there now may be of this restore
        await self._check(desk.cluster, owners, restored.coming, asked, is_ours=has_begun)
        async with at_hand(self._means, desk.cluster, asked, restored, work) as files:
            found = None
            if not work.is_aborted:
                total = restored.coming.bytes
                work.show("reading", what="bytes", total=total, text="whether all of it is understood")
                found = await unless(work.wait_aborted, partial(summed, self._means, desk.cluster, files))
            if not work.is_aborted and found is not None:
                coming, known_by = found
                if has_begun and memo.get("known_by") != known_by:
                    raise JobError(
                        "the files on this machine are not those that the restore began with: what was"
                        " restored stays; have the same files on each machine that may lead, and ask again"
                        " with --replace"
                    )
                memo["known_by"] = known_by
                await self._check(desk.cluster, owners, coming, asked, is_ours=has_begun)
            loading = Loading(self._means, desk, work, asked, files, memo)
            is_done = await loading.run()
        result = result_of(loading.loaded)
        if is_done:
            return result
        return {**result, "text": f"given up: {result['text']}, which stay: FLUSHALL empties the cluster"}

    async def _check(
        self,
        cluster: str,
        owners: tuple[Owner, ...],
        coming: Coming,
        asked: RestoreWants,
        *,
        is_ours: bool = False,
    ) -> list[str]:
        """What people should know; raise JobError where it cannot be."""
        facts = await self._means.facts(cluster, owners)
        if whys := list(why_not(coming, facts, replaces=asked.replaces or is_ours)):
            raise JobError(f"{'; '.join(whys)}. Nothing was restored" if not is_ours else "; ".join(whys))
        return list(cautions(coming, facts))

    def _wants(self, cluster: str, wants: Mapping[str, Any]) -> RestoreWants:
        return RestoreWants.read(wants).check(self._means.allowed_of(cluster))
