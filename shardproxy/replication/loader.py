"""RDB files into the shards of a cluster."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from shardproxy.dataplane import _native
from shardproxy.replication.copier import end_spec
from shardproxy.replication.interface import CopyError, LoadPlan, LoadStatus
from shardproxy.replication.spec import encoded, families_spec, slots_spec
from shardproxy.replication.threads import STOPS, WAITS

LOOK = 0.5  # seconds a thread waits for the end before it looks whether it is still wanted
STOP_WITHIN = 10.0  # seconds its thread is waited for when it is stopped


class EngineLoader:
    """Restores RDB files by one thread a file, four at once; it begins at once.

    What is sent and not answered is bounded (1 MiB a target and file, 64 MiB a file): a slow target slows it.
    One that neither takes nor answers anything for 60 s ends it. Nothing is retried: whoever wants to go on
    makes another one with the `positions` of this one's status, which replaces what it finds from there on:
    what was restored last looks like what was there before.
    """

    def __init__(self, plan: LoadPlan) -> None:
        if plan.owned and len(plan.owned) != len(plan.files):
            raise CopyError(f"{len(plan.files)} files, and slots of {len(plan.owned)}: each file has its own")
        if plan.positions and len(plan.positions) != len(plan.files):
            raise CopyError(
                f"{len(plan.files)} files, and positions in {len(plan.positions)}: each file has one"
            )
        try:
            self._native = _native.Loader(_plan_spec(plan))
        except (OSError, ValueError) as error:
            raise CopyError(str(error)) from error

    @property
    def status(self) -> LoadStatus:
        told = json.loads(self._native.status())
        positions = tuple(told["positions"])
        lengths = told["lengths"] or [math.inf] * len(positions)  # not looked at yet
        reached = enumerate(zip(positions, lengths, strict=True))
        first = next((number for number, (position, length) in reached if position < length), len(positions))
        return LoadStatus(
            is_over=told["is_over"],
            why=told["why"],
            keys=told["keys"],
            bytes=told["bytes"],
            total=told["total"],
            leftovers=told["leftovers"],
            expired=told["expired"],
            unmatched=told["unmatched"],
            functions=told["functions"],
            position=(first, positions[first] if first < len(positions) else 0),
            positions=positions,
            seconds=told["seconds"],
        )

    async def wait(self) -> LoadStatus:
        """Return when all is restored; raise CopyError when it failed."""
        while not (status := self.status).is_over:
            await trio.to_thread.run_sync(self._native.wait, LOOK, abandon_on_cancel=True, limiter=WAITS)
        if status.why:
            raise CopyError(status.why)
        return status

    async def stop(self) -> None:
        """End its threads, and wait for that for 10 s at most; its status says how far it came."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + STOP_WITHIN):
            await trio.to_thread.run_sync(self._native.stop, abandon_on_cancel=True, limiter=STOPS)


@asynccontextmanager
async def loader(plan: LoadPlan) -> AsyncIterator[EngineLoader]:
    """A loader that ends with the block, whatever becomes of it."""
    one = EngineLoader(plan)
    try:
        yield one
    finally:
        await one.stop()


def _plan_spec(plan: LoadPlan) -> bytes:
    files = []
    for number, path in enumerate(plan.files):
        slots = slots_spec(plan.owned[number]) if plan.owned else None
        start = plan.positions[number] if plan.positions else 0
        files.append({"path": str(path), "slots": slots, "start": start})
    return encoded(
        {
            "files": files,
            "targets": [
                {"slots": slots_spec(target.slots), "end": end_spec(target.end)} for target in plan.targets
            ],
            "families": families_spec(plan.families),
            "database": plan.database,
            "pattern": plan.match,
            "replaces": plan.replaces,
            "functions": plan.functions,
            "is_resumed": bool(plan.positions),
        }
    )
