"""Where RDBs lie that are on their way to somewhere else."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from shardproxy.archive import PlaceError

REMOVE_WITHIN = 30.0  # seconds


@asynccontextmanager
async def spooled(spool: Path, cluster: str, backup: str) -> AsyncIterator[Path]:
    """A directory of one backup, gone afterwards, and with it what killed processes have left."""
    beginning = f"shardproxy-backup-{cluster}-"

    def make() -> Path:
        for old in spool.glob(f"{beginning}*"):
            shutil.rmtree(old, ignore_errors=True)
        made = spool / f"{beginning}{backup}"
        made.mkdir(mode=0o700)
        return made

    try:
        made = await trio.to_thread.run_sync(make)
    except OSError as e:
        raise PlaceError(f"cannot spool in {spool}: {e.strerror}; see backups: {{spool: ...}}") from e
    try:
        yield made
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + REMOVE_WITHIN):
            await trio.to_thread.run_sync(lambda: shutil.rmtree(made, ignore_errors=True))


async def free_bytes(path: Path) -> int:
    """What fits on the disk that a path is on, or will be."""

    def free() -> int:
        there = path
        while not there.exists() and there != there.parent:
            there = there.parent
        return shutil.disk_usage(there).free

    return await trio.to_thread.run_sync(free)
