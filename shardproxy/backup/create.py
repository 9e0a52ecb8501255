"""The worker that makes backups, at the leader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog

from shardproxy.archive import ArchiveError, UnsureError
from shardproxy.archive.spool import free_bytes
from shardproxy.backup.making import BackupTools, Making, check_free, sources_of
from shardproxy.backup.saying import plan_lines, result_of, size_text
from shardproxy.backup.settings import archive_open, spool_of
from shardproxy.backup.wants import Wants
from shardproxy.failover.interfaces import SlotDesk
from shardproxy.jobs.interface import JobError, Work
from shardproxy.model.together import unless
from shardproxy.replication.interface import CopyError

COMPLETE = "complete"  # in a result: it was given up when it could not be undone any more

log = structlog.get_logger()


class BackupWorker:
    """Plans and makes them; a Worker."""

    kind = "backup"

    def __init__(self, tools: BackupTools) -> None:
        self._tools = tools

    def check(self, cluster: str, wants: Mapping[str, Any]) -> Mapping[str, Any]:
        """See Worker."""
        return self._wants(cluster, wants).json()

    def can_finish(self, wants: Mapping[str, Any]) -> bool:
        """See Worker."""
        return False

    async def plan(self, desk: SlotDesk, wants: Mapping[str, Any]) -> Mapping[str, Any]:
        """Say who would be read, and whether it fits; raise JobError."""
        want = self._wants(desk.cluster, wants)
        config = self._tools.config_of(desk.cluster)
        with _failing():
            archive = await archive_open(config, want.to)
            await check_free(archive, want.name)
        async with self._tools.nodes_of(desk.cluster) as nodes:
            sources = await sources_of(desk, nodes)
        lines = plan_lines(want, desk.cluster, archive.url, sources, archive.is_sealed)
        memory = sum(source.look.memory for source in sources)
        disk = archive.path_for(want.name, "x") or spool_of(config)
        if (free := await free_bytes(disk)) < memory:
            lines.append(
                f"the disk of {disk.parent} has {size_text(free)} free, and the data takes"
                f" {size_text(memory)} in memory: it may not fit"
            )
        shards = {source.label: str(source.address) for source in sources}
        return {"name": want.name, "to": archive.url, "memory": memory, "shards": shards, "lines": lines}

    async def run(self, desk: SlotDesk, work: Work) -> Mapping[str, Any]:
        """Make it, or go on where an earlier leader stopped: from the start, or with what that completed."""
        want = self._wants(desk.cluster, work.job.wants)
        config = self._tools.config_of(desk.cluster)
        with _failing():
            archive = await archive_open(config, want.to)
            async with self._tools.nodes_of(desk.cluster) as nodes:
                making = Making(self._tools, desk, nodes, work, want, archive, spool_of(config))
                made = await making.made_before() or await unless(work.wait_aborted, making.make)
        if made is None:
            return {"text": "given up: nothing of it is left"}
        log.info("backup made", cluster=desk.cluster, name=want.name, to=archive.url)
        return {**result_of(made, archive.url), **({COMPLETE: True} if work.is_aborted else {})}

    def _wants(self, cluster: str, wants: Mapping[str, Any]) -> Wants:
        return Wants.read(cluster, wants).check(self._tools.allowed_of(cluster))


@contextmanager
def _failing() -> Iterator[None]:
    """What is wrong with a place or a copy is what the job says."""
    try:
        yield
    except UnsureError as e:
        raise JobError(str(e)) from e
    except (ArchiveError, CopyError) as e:
        raise JobError(f"{e}; no backup was made") from e
