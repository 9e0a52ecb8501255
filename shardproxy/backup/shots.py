"""The reading of all shards: one Snapshot each, all or none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import trio

from shardproxy.backup.sources import Source
from shardproxy.model.replication import ShardKey
from shardproxy.model.together import each
from shardproxy.replication.interface import (
    CopyError,
    End,
    RdbSummary,
    Slots,
    Snapshot,
    SnapshotPhase,
    SnapshotStatus,
)

POLL = 0.1  # seconds between looks at how far they are
STALL = 120.0  # seconds without a byte from anybody, after which it is given up
STOP_WITHIN = 10.0  # seconds
Families = tuple[tuple[str, str], ...]


class SnapshotOpen(Protocol):
    """Begins to read a node's RDB into a new file at once, counting keys of other slots as strays."""

    def __call__(self, end: End, path: Path, *, owned: Slots, families: Families) -> Snapshot: ...


@dataclass(frozen=True, slots=True)
class Aim:
    """What is read, and where to."""

    source: Source
    end: End
    path: Path  # of a new file


class Shots:
    """The Snapshots of one backup; a context manager that leaves no thread behind."""

    def __init__(self, snapshot: SnapshotOpen, aims: Sequence[Aim], families: Families) -> None:
        self._snapshot, self._aims, self._families = snapshot, aims, families
        self._running: list[Snapshot] = []

    def start(self) -> None:
        """Ask all nodes, and wait for none."""
        for aim in self._aims:
            snapshot = self._snapshot(aim.end, aim.path, owned=aim.source.slots, families=self._families)
            self._running.append(snapshot)

    async def wait_forked(self) -> list[SnapshotStatus]:
        """Return, by aim, when what each RDB will hold is fixed; raise CopyError."""
        found: dict[ShardKey, SnapshotStatus] = {}

        async def wait(pair: tuple[Aim, Snapshot]) -> None:
            aim, snapshot = pair
            try:
                found[aim.source.key] = await snapshot.wait(SnapshotPhase.FORKED)
            except CopyError as e:
                raise _named(aim, str(e)) from e

        await each(wait, zip(self._aims, self._running, strict=True))
        return [found[aim.source.key] for aim in self._aims]

    async def wait_done(self, show: Callable[[int, int], None]) -> list[RdbSummary]:
        """What was found in each; `show` is told of bytes and keys. Raise CopyError when one fails."""
        seen, since = -1, trio.current_time()
        while True:
            statuses = [one.status for one in self._running]
            for aim, status in zip(self._aims, statuses, strict=True):
                if status.phase is SnapshotPhase.FAILED:
                    raise _named(aim, status.why)
            done = sum(status.bytes for status in statuses)
            show(done, sum(status.keys for status in statuses))
            found = [summary for status in statuses if (summary := _summary(status)) is not None]
            if len(found) == len(self._running):
                return found
            if done != seen:
                seen, since = done, trio.current_time()
            elif trio.current_time() - since > STALL:
                slow = [
                    str(aim.source.address)
                    for aim, status in zip(self._aims, statuses, strict=True)
                    if _summary(status) is None
                ]
                raise CopyError(f"nothing came from {', '.join(slow)} for {STALL:.0f} s")
            await trio.sleep(POLL)

    async def __aenter__(self) -> Shots:
        return self

    async def __aexit__(self, *error: object) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + STOP_WITHIN):
            await each(lambda one: one.stop(), self._running)


def _named(aim: Aim, why: str) -> CopyError:
    return CopyError(f"shard {aim.source.label}, read from {aim.source.address}: {why}")


def _summary(status: SnapshotStatus) -> RdbSummary | None:
    return status.summary if status.phase is SnapshotPhase.DONE else None
