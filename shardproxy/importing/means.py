"""What the workers here are given: how others are reached, and who moves the bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from shardproxy.archive import Archive
from shardproxy.importing.errors import ForeignError
from shardproxy.importing.facts import Facts, facts_ask
from shardproxy.importing.targets import Owner
from shardproxy.jobs.allowed import Allowed
from shardproxy.jobs.interface import JobError
from shardproxy.model import Address
from shardproxy.model.together import together
from shardproxy.nodes import NodeLinks
from shardproxy.replication.interface import Copier, CopyPlan, End, Loader, LoadPlan, RdbSummary, Target

Families = tuple[tuple[str, str], ...]


class OpenArchive(Protocol):
    async def __call__(
        self, cluster: str, place: str, key_file: str | None, *, unencrypted: bool = False
    ) -> Archive:
        """The backups of a place, reached as the cluster's own are; raise ArchiveError."""


class ReadRdb(Protocol):
    async def __call__(self, path: Path, families: Families) -> RdbSummary:
        """Read a file whole; raise CopyError for what it is not, and for types that are not known."""


@dataclass(frozen=True, slots=True)
class Means:
    """All is asked anew when it is needed, so a reload reaches each."""

    end_of: Callable[[str, Address], End]  # by cluster
    links_of: Callable[[str], NodeLinks]  # by cluster; a context manager
    families_of: Callable[[str], Families]  # by cluster
    archive: OpenArchive
    start_loader: Callable[[LoadPlan], Loader]
    start_copier: Callable[[CopyPlan], Copier]
    rdb_read: ReadRdb
    allowed_of: Callable[[str], Allowed]  # by cluster
    spool: Callable[[str], Path]  # by cluster: a directory for files that have to be on this machine

    def targets(self, cluster: str, owners: Sequence[Owner]) -> tuple[Target, ...]:
        return tuple(Target(owner.slots, self.end_of(cluster, owner.primary)) for owner in owners)

    async def facts(self, cluster: str, owners: Sequence[Owner]) -> list[Facts]:
        """What the primaries say of themselves; raise JobError."""
        async with self.links_of(cluster) as links:

            async def ask(owner: Owner) -> Facts:
                return await facts_ask(links, owner.primary)

            try:
                return await together(*[lambda owner=owner: ask(owner) for owner in owners])
            except ForeignError as error:
                raise JobError(f"a shard cannot be asked: {error}") from None


def numbered(owners: Sequence[Owner]) -> Mapping[str, str]:
    """Who was restored to, for the memo: by shard, the primary and its epoch."""
    return {str(owner.key.index): f"{owner.primary} {owner.epoch}" for owner in owners}
