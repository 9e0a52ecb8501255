"""How long a copier may write: as long as nobody else can lead its cluster.

A process that is stopped and goes on later finds its lease over, and writes nothing more to a target.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count

import trio

from shardproxy.replication.interface import Claim, Copier

LEASES = (2.0, 1.0, 0.5, 0.25)  # seconds: the longest that the leadership covers
EVERY = 0.1  # seconds between renewals

_runs = count(1)


def claim_new(cluster: str, term: int) -> Claim:
    """Of copiers that begin now, after all that began before."""
    return Claim(cluster, term, next(_runs))


def lease_until(covers: Callable[[float], bool]) -> float:
    """Until when a copier may write (CLOCK_BOOTTIME, seconds); in the past where the leadership is over."""
    now = time.clock_gettime(time.CLOCK_BOOTTIME)  # before it is asked: it covers no less from then on
    return next((now + seconds for seconds in LEASES if covers(seconds)), 0.0)


@asynccontextmanager
async def kept(copiers: Sequence[Copier], covers: Callable[[float], bool]) -> AsyncIterator[None]:
    """Renew their leases while the leadership covers them. What the body raises leaves it as it is."""
    error: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_keep, copiers, covers)
        try:
            yield
        except BaseException as raised:  # noqa: BLE001  # raised below, and not in a group
            error = raised
        nursery.cancel_scope.cancel()
    if error is not None:
        raise error


async def _keep(copiers: Sequence[Copier], covers: Callable[[float], bool]) -> None:
    while True:
        if until := lease_until(covers):
            for copier in copiers:
                copier.keep(until)
        await trio.sleep(EVERY)
