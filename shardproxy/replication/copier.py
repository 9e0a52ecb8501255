"""Copies of an engine's keys, kept fresh by a thread of the data plane's crate.

It reads a replica where there is one, and attaches to it as one that never confirms anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, TypedDict, TypeVarTuple

import trio

from shardproxy.dataplane import _native
from shardproxy.dataplane.tls import NodeTlsSpec
from shardproxy.model import Address
from shardproxy.replication.interface import (
    CopyDiffersError,
    CopyError,
    CopyFault,
    CopyPhase,
    CopyPlan,
    CopyStatus,
    End,
)

Ts = TypeVarTuple("Ts")

LOOKS_EVERY = 0.02  # seconds; how often it is looked whether little is left
SLACK = 1.0  # seconds; the thread answers within what it was given, or soon after


class EndSpec(TypedDict):
    address: str
    username: str | None
    password: str | None
    tls: NodeTlsSpec | None
    process: str | None


def end_spec(end: End) -> EndSpec:
    """An end as the crate wants to be told. Holds its password: never log it."""
    login = end.credentials
    return EndSpec(
        address=str(end.address),
        username=login.username if login is not None else None,
        password=login.password if login is not None else None,
        tls=end.tls.spec() if end.tls is not None else None,
        process=end.process,
    )


def _plan_encode(plan: CopyPlan) -> bytes:
    return json.dumps(
        {
            "sources": [end_spec(end) for end in plan.sources],
            "targets": [
                {
                    "slots": [[slots.first, slots.last] for slots in target.slots],
                    "end": end_spec(target.end),
                }
                for target in plan.targets
            ],
            "families": [{"match": match, "hash": hash_} for match, hash_ in plan.families],
            "database": plan.database,
            "replaces": plan.replaces,
            "rate": plan.rate,
            "match": plan.match,
            "follows": plan.follows,
            "claim": asdict(plan.claim) if plan.claim is not None else None,
        }
    ).encode()


def _status(told: dict[str, Any]) -> CopyStatus:
    source, kind = told.pop("source"), told.pop("kind")
    return CopyStatus(
        phase=CopyPhase(told.pop("phase")),
        fault=CopyFault(kind) if kind else None,
        source=Address.parse(source) if source else None,
        **told,
    )


def _error(error: RuntimeError) -> CopyError:
    """What the crate says: of which kind it is, and in words."""
    kind, why = error.args
    return CopyDiffersError(why) if kind == CopyFault.DIFFERS.value else CopyError(why, CopyFault(kind))


class EngineCopier:
    """A `Copier`: it begins at once, and ends with `stop`."""

    def __init__(self, native: _native.Copier) -> None:
        self._native = native
        # an order of its own thread: what waits here holds nobody else's threads up
        self._threads = trio.CapacityLimiter(3)

    @classmethod
    def start(cls, plan: CopyPlan, *, table: bytes | None = None) -> EngineCopier:
        """Begin to copy; raise ValueError for a plan that makes no sense.

        `table`: the command table (JSON), with what was learned of modules; None = the built-in one.
        """
        return cls(_native.Copier(_plan_encode(plan), table, plan.until))

    @property
    def status(self) -> CopyStatus:
        return _status(self._native.status())

    async def wait_close(self) -> None:
        """Return when little is left (`is_close`), or all is over; raise CopyError when it failed."""
        while True:
            status = self.status
            if status.phase is CopyPhase.FAILED:
                raise CopyError(status.why, status.fault)
            if status.is_close or status.phase is CopyPhase.FINISHED:
                return
            await trio.sleep(LOOKS_EVERY)

    async def reach(
        self, offset: int, replid: str, *, within: float, replicas: int = 0, rests: bool = False
    ) -> None:
        """Return when all changes up to this offset of that history are with the targets and answered.

        And with so many replicas of each target. Raise CopyError when that took longer, it failed, or rests.
        `rests`: and then it has rested, in one order.
        """
        await self._order(within, self._native.reach, offset, replid, within, replicas, rests)

    async def verify(self, *, within: float) -> int:
        """Compare a sample of keys on both sides, and all names where there is time; how many were compared.

        While nothing changes in the slots, and after `reach`, also while it rests. Raise CopyDiffersError
        with what differs, or CopyError when it could not be compared.
        """
        return await self._order(within, self._native.verify, within)

    async def compare(self, *, within: float) -> int:
        """Compare all keys on both sides while clients write; how many were looked at.

        Raise CopyDiffersError with what differs, or CopyError when that took longer, or it failed.
        """
        return await self._order(within, self._native.compare, within)

    def keep(self, until: float) -> None:
        """Nothing is written to a target from then on (CLOCK_BOOTTIME, seconds): it fails instead, LAPSED."""
        self._native.keep(until)

    async def rest(self, *, within: float) -> None:
        """Return when all is with the targets and nothing more will be written, until `go_on`."""
        await self._order(within, self._native.rest, within)

    def go_on(self) -> None:
        """Follow the source again."""
        self._native.go_on()

    async def sources(self, sources: Sequence[End]) -> None:
        """The source's shard has these nodes now, the one to read from first."""
        self._native.sources(json.dumps([end_spec(end) for end in sources]).encode())

    async def stop(self) -> None:
        """End the thread and its connections."""
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._native.stop, limiter=self._threads)

    async def _order(self, within: float, order: Callable[[*Ts], int], *args: *Ts) -> int:
        try:
            with trio.fail_after(within + SLACK):
                return await trio.to_thread.run_sync(
                    order, *args, abandon_on_cancel=True, limiter=self._threads
                )
        except RuntimeError as error:
            raise _error(error) from error
        except trio.TooSlowError as error:
            raise CopyError("the copier does not answer", CopyFault.LATE) from error
