"""One backup under way: reads all shards, puts the files where they are to be, and vouches for them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex

import structlog
import trio

from shardproxy import __version__
from shardproxy.archive import (
    AlreadyThereError,
    Archive,
    ArchiveError,
    Cut,
    Manifest,
    NotThereError,
    PlaceError,
    UnsureError,
)
from shardproxy.archive.names import file_name, is_file_name
from shardproxy.archive.spool import spooled
from shardproxy.backup.fence import Fence
from shardproxy.backup.nodes import delays_set, delays_to_change, is_forked, look_at, why_slow
from shardproxy.backup.shots import Aim, Families, Shots, SnapshotOpen
from shardproxy.backup.sources import Source, source_of
from shardproxy.backup.storing import Storing
from shardproxy.backup.wants import Wants
from shardproxy.config import Backups
from shardproxy.failover.interfaces import Nodes, SlotDesk
from shardproxy.jobs.allowed import Allowed
from shardproxy.jobs.interface import JobError, Work
from shardproxy.model import Address
from shardproxy.model.together import each
from shardproxy.replication.interface import CopyError, End, RdbSummary

QUIET_WITHIN = 60.0  # seconds for which a child that saves already is waited for
QUIET_POLL = 0.25  # seconds
FORK_WITHIN = 30.0  # seconds for which nodes are kept from waiting for more readers
READS = 2  # tries to read all shards: a node may be replaced meanwhile
CLEAN_WITHIN = 30.0  # seconds for taking back what is not to stay
REMEMBERED = 50  # attempts whose backup is taken for this one: one a leader, two at most

log = structlog.get_logger()


@dataclass(frozen=True)
class BackupTools:
    """What backups are made with: all of it is asked anew when it is needed."""

    nodes_of: Callable[[str], AbstractAsyncContextManager[Nodes]]  # connections to a cluster's engines
    end_of: Callable[[str, Address], End]
    config_of: Callable[[str], Backups | None]
    families_of: Callable[[str], Families]
    identity: Callable[[str], Awaitable[str]]  # of a cluster; raise StoreUnavailableError
    snapshot: SnapshotOpen
    allowed_of: Callable[[str], Allowed] = lambda cluster: Allowed()  # what jobs may name
    paused: Callable[[str, float], None] = lambda cluster, seconds: None  # told how long writes waited
    now: Callable[[], float] = time.time  # seconds since 1970


@dataclass
class Making:
    """What one backup is made of, and with."""

    tools: BackupTools
    desk: SlotDesk
    nodes: Nodes
    work: Work
    want: Wants
    archive: Archive
    spool: Path

    async def made_before(self) -> Manifest | None:
        """What an earlier leader has made of it already. It may still be at it: its files stay."""
        memo = self.work.job.memo
        if not memo:
            return None
        await self._delays_back({Address.parse(node): int(old) for node, old in memo["delays"].items()})
        return await self._found()

    @property
    def _ids(self) -> tuple[str, ...]:
        """Of all attempts at this job, by whatever leader."""
        return tuple(self.work.job.memo.get("ids", ()))

    async def _found(self) -> Manifest | None:
        """What any attempt has completed."""
        if not self._ids:
            return None
        try:
            made = await self.archive.manifest(self.want.name)
        except NotThereError:
            return None
        return made if made.id in self._ids else None

    async def make(self) -> Manifest:
        """Raise JobError, ArchiveError or CopyError: nothing is left of it then."""
        self.work.show("looking", text=f"who is read, and whether {self.archive.url} answers")
        if (made := await self._found()) is not None:
            return made
        await check_free(self.archive, self.want.name)
        for attempt in range(1, READS + 1):
            await self.work.wait_resumed()
            try:
                return await self._attempt()
            except CopyError as e:
                if attempt == READS:
                    raise
                log.warning("backup begins anew", cluster=self.desk.cluster, why=str(e))
        raise AssertionError("it was made, or raised")

    async def _attempt(self) -> Manifest:
        began = self.tools.now()
        identity = await self.tools.identity(self.desk.cluster)
        sources = await sources_of(self.desk, self.nodes)
        backup = token_hex(8)
        files = {source.key: file_name(source.key.index, backup) for source in sources}
        delays = delays_to_change(sources)
        names = {str(node): delay for node, delay in delays.items()}
        await self.work.save({"ids": [*self._ids, backup][-REMEMBERED:], "delays": names})
        stays = False
        try:
            async with spooled(self.spool) as spool:
                aims = [
                    Aim(
                        source,
                        self.tools.end_of(self.desk.cluster, source.address),
                        await self._path(files[source.key], spool),
                    )
                    for source in sources
                ]
                cut, found = await self._read(aims, delays)
                storing = Storing(self.archive, self.want.name, backup, files, self.work)
                stored = await storing.put(aims, found)
            manifest = Manifest(
                id=backup,
                name=self.want.name,
                cluster=self.desk.cluster,
                origin=self.want.origin,
                version=__version__,
                began=began,
                ended=self.tools.now(),
                cut=cut,
                files=stored,
                families=self.tools.families_of(self.desk.cluster),
                cluster_id=identity,
            )
            self.work.show("vouching", text="the manifest is written")
            sealed = await self.archive.commit(manifest)
            stays = True
        except UnsureError:
            stays = True
            raise
        except AlreadyThereError:
            if (earlier := await self._found()) is None:
                raise
            return earlier
        finally:
            if not stays:
                await self._take_back(list(files.values()))
        await self._earlier_away(sealed)
        return sealed

    async def _path(self, file: str, spool: Path) -> Path:
        """Where the RDB is read to: where it is to be, or the spool."""
        path = self.archive.path_for(self.want.name, file)
        if path is None:
            return spool / file
        try:
            await trio.Path(path.parent).mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as e:
            raise PlaceError(f"cannot write to {self.archive.url}: {e.strerror}") from e
        return path

    async def _read(self, aims: Sequence[Aim], delays: Mapping[Address, int]) -> tuple[Cut, list[RdbSummary]]:
        families = self.tools.families_of(self.desk.cluster)
        total = sum(aim.source.look.memory for aim in aims)

        def show(done: int, keys: int) -> None:
            most = max(total, done)
            self.work.show("reading", what="bytes", done=done, total=most, text=f"{keys} keys")

        async with Shots(self.tools.snapshot, aims, families) as shots:
            async with self._undelayed(delays) as faults:
                cut = await self._cut([aim.source for aim in aims], shots, faults)
                with trio.move_on_after(FORK_WITHIN):
                    await shots.wait_forked()
            return cut, await shots.wait_done(show)

    async def _cut(self, sources: Sequence[Source], shots: Shots, faults: Sequence[str]) -> Cut:
        if len(sources) == 1:  # what one node forks is of one moment
            shots.start()
            return Cut(is_fenced=True, at=self.tools.now())
        why = "nobody asked for it" if not self.want.fence else next(iter(faults), None) or why_slow(sources)
        why = why or await self._wait_quiet(sources)
        if why is not None:
            shots.start()
            return Cut(is_fenced=False, why=why, at=self.tools.now())
        self.work.show("fencing", text="writes wait until all nodes have forked")
        fence = Fence(self.desk, self.nodes, sources, self._count_try)
        cut = await fence.cut(shots.start, shots.wait_forked)
        self.tools.paused(self.desk.cluster, cut.held)
        return replace(cut, at=self.tools.now())

    async def _count_try(self) -> None:
        """Writes are about to be held once more; durable when it returns."""
        memo = self.work.job.memo
        await self.work.save({**memo, "holds": memo.get("holds", 0) + 1})

    async def _wait_quiet(self, sources: Sequence[Source]) -> str | None:
        """Wait until no node saves already: it would not fork again before it is done. Or say which does."""

        async def wait(source: Source) -> None:
            while await is_forked(self.nodes, source.address):  # noqa: ASYNC110  # nobody tells
                await trio.sleep(QUIET_POLL)

        with trio.move_on_after(QUIET_WITHIN):
            await each(wait, sources)
            return None
        return f"a node was saving for more than {QUIET_WITHIN:.0f} s"

    @asynccontextmanager
    async def _undelayed(self, delays: Mapping[Address, int]) -> AsyncIterator[list[str]]:
        """Have nodes fork at once in it; gives what went wrong with that."""
        try:
            yield await delays_set(self.nodes, dict.fromkeys(delays, 0))
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + CLEAN_WITHIN):
                await self._delays_back(delays)

    async def _delays_back(self, delays: Mapping[Address, int]) -> None:
        for fault in await delays_set(self.nodes, delays):
            log.warning("repl-diskless-sync-delay not set back", cluster=self.desk.cluster, why=fault)

    async def _take_back(self, files: Sequence[str]) -> None:
        """Leave nothing that is no backup."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLEAN_WITHIN):
            try:
                await self.archive.discard(self.want.name, files)
            except ArchiveError as e:
                log.warning("files of a failed backup are left", where=self.archive.url, why=str(e))

    async def _earlier_away(self, made: Manifest) -> None:
        """What earlier attempts left: none of them can be completed, as the name is taken now."""
        kept = {file.file for file in made.files}
        endings = tuple(f"-{backup[:8]}.rdb" for backup in self._ids)
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLEAN_WITHIN):
            try:
                there = [one.name.rpartition("/")[2] for one in await self.archive.stored(made.name)]
                left = [one for one in there if is_file_name(one) and one.endswith(endings)]
                await self.archive.discard(made.name, [one for one in left if one not in kept])
            except ArchiveError as e:
                log.warning("files of an earlier attempt are left", where=self.archive.url, why=str(e))


async def sources_of(desk: SlotDesk, nodes: Nodes) -> list[Source]:
    """A node of each shard that has slots; raise JobError."""
    records = [record for record in desk.records.values() if record.slots]
    if not records:
        raise JobError(f"{desk.cluster} has no shard with slots on record: is it served?")
    looks = await look_at(nodes, dict.fromkeys(node for record in records for node in record.nodes))
    return [
        source_of(record, record.name or str(record.key.index), looks)
        for record in sorted(records, key=lambda record: record.key)
    ]


async def check_free(archive: Archive, name: str) -> None:
    """Raise JobError where a backup has that name."""
    if await archive.has(name):
        raise JobError(f"there is a backup {name} in {archive.url} already: take another name")
