"""Has a place keep what was read, tried again while the place is away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog
import trio

from shardproxy.archive import Archive, PlaceError, PlaceFullError, ShardFile
from shardproxy.archive.archive import file_context
from shardproxy.backup.saying import entry_of
from shardproxy.backup.shots import Aim
from shardproxy.jobs.interface import Work
from shardproxy.model.replication import ShardKey
from shardproxy.model.together import each, unless
from shardproxy.replication.interface import RdbSummary

BACKOFF = (2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0)  # seconds between tries to put one file
SHOWN_EVERY = 0.5  # seconds

log = structlog.get_logger()


@dataclass
class Storing:
    """The files of one backup on their way; each leaves the spool as soon as the place has it."""

    archive: Archive
    name: str
    backup: str  # its id
    files: Mapping[ShardKey, str]
    work: Work
    _sent: int = field(default=0, init=False)

    async def put(self, aims: Sequence[Aim], found: Sequence[RdbSummary]) -> tuple[ShardFile, ...]:
        """Return what the manifest says of them, by shard; raise PlaceError."""
        total = sum(summary.bytes for summary in found)
        stored: dict[int, ShardFile] = {}

        async def put(pair: tuple[Aim, RdbSummary]) -> None:
            aim, summary = pair
            file = self.files[aim.source.key]
            if aim.path == self.archive.path_for(self.name, file):
                kept = summary.bytes, summary.sha256  # read to where it is to be
            else:
                kept = await self._put_one(aim, file)
                await trio.Path(aim.path).unlink(missing_ok=True)
            stored[aim.source.key.index] = entry_of(aim.source, file, summary, *kept)

        async def show() -> None:
            while True:
                self.work.show("storing", what="bytes", done=min(self._sent, total), total=total)
                await trio.sleep(SHOWN_EVERY)

        await unless(show, lambda: each(put, zip(aims, found, strict=True)))
        return tuple(stored[number] for number in sorted(stored))

    async def _put_one(self, aim: Aim, file: str) -> tuple[int, str]:
        what = file_context(self.backup, aim.source.key.index)
        for pause in (*BACKOFF, None):
            await self.work.wait_resumed()
            try:
                return await self.archive.put(aim.path, self.name, file, what=what, progress=self._count)
            except PlaceError as e:
                if pause is None or isinstance(e, PlaceFullError):
                    raise
                log.warning("backup file not stored yet", file=file, why=str(e), again_in=pause)
            await trio.sleep(pause)
        raise AssertionError("it was stored, or raised")

    def _count(self, more: int) -> None:
        self._sent += more
