"""One engine's RDB into a file."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from shardproxy.dataplane import _native
from shardproxy.replication.copier import end_spec
from shardproxy.replication.interface import CopyError, End, Slots, SnapshotPhase, SnapshotStatus
from shardproxy.replication.rdb import summary_of
from shardproxy.replication.spec import encoded, owned_spec
from shardproxy.replication.threads import STOPS, WAITS

LOOK = 0.5  # seconds a thread waits for the next phase before it looks whether it is still wanted
STOP_WITHIN = 10.0  # seconds its thread is waited for when it is stopped
ORDER = list(SnapshotPhase)


class EngineSnapshot:
    """Reads one engine's RDB into a new file, mode 0600; it begins at once.

    The path must not be there yet. `owned` are the slots of the engine's shard: keys of others are strays.
    """

    def __init__(
        self, end: End, path: Path, *, owned: Slots = (), families: Sequence[tuple[str, str]] = ()
    ) -> None:
        try:
            self._native = _native.Snapshot(encoded(end_spec(end)), path, owned_spec(owned, families))
        except (OSError, ValueError) as error:
            raise CopyError(str(error)) from error

    @property
    def status(self) -> SnapshotStatus:
        told = json.loads(self._native.status())
        summary = summary_of(told["summary"]) if told["summary"] is not None else None
        return SnapshotStatus(
            SnapshotPhase(told["phase"]),
            told["why"],
            told["bytes"],
            told["keys"],
            told["replid"],
            told["offset"],
            summary,
        )

    async def wait(self, *phases: SnapshotPhase) -> SnapshotStatus:
        """Return once it is, or has passed, one of these phases; raise CopyError when it failed."""
        first = min(ORDER.index(phase) for phase in phases)
        while True:
            status = self.status
            if status.phase is SnapshotPhase.FAILED:
                raise CopyError(status.why)
            if ORDER.index(status.phase) >= first:
                return status
            phase = status.phase.value
            await trio.to_thread.run_sync(
                self._native.wait, phase, LOOK, abandon_on_cancel=True, limiter=WAITS
            )

    async def stop(self) -> None:
        """End it; a file that is not DONE is removed.

        Takes no longer than a write to the disk does. Of one that takes more than 10 s the end is not waited
        for: its thread ends by itself, and removes its file then.
        """
        with trio.CancelScope(shield=True, deadline=trio.current_time() + STOP_WITHIN):
            await trio.to_thread.run_sync(self._native.stop, abandon_on_cancel=True, limiter=STOPS)


@asynccontextmanager
async def snapshot(
    end: End, path: Path, *, owned: Slots = (), families: Sequence[tuple[str, str]] = ()
) -> AsyncIterator[EngineSnapshot]:
    """A snapshot that ends with the block, whatever becomes of it."""
    one = EngineSnapshot(end, path, owned=owned, families=families)
    try:
        yield one
    finally:
        await one.stop()
