"""Takes keys away that a shard has and does not own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from shardproxy.failover.interfaces import Nodes
from shardproxy.model import Address
from shardproxy.reshard.sample import page_read
from shardproxy.wire.reply import Failure

PER_SCAN = 200  # keys an engine looks at, and may unlink, in one go: under a millisecond of it
TIMEOUT = 5.0  # seconds for one answer to SCAN
UNLINKS_WITHIN = 1.0  # seconds; half of it until a connection is free, half for the answer
REST = 1.0  # of the time that the engine took, until it is asked again: others come first


class SweepError(Exception):
    """The engine would not."""


async def sweep(
    nodes: Nodes,
    address: Address,
    run_id: str,
    is_stray: Callable[[bytes], bool],
    *,
    may_go_on: Callable[[], Awaitable[None]],
    told: Callable[[int, int], None] = lambda looked, removed: None,
) -> int:
    """Unlink every key that `is_stray` of this very process, and return how many.

    `may_go_on` raises where this must end; it is asked before each batch, and `is_stray` after it: what is
    sent then is over within UNLINKS_WITHIN. Keys that come meanwhile may stay. Raise NodeFailure, NodeError,
    ScanError or SweepError.
    """
    cursor, looked, removed = b"0", 0, 0
    while True:
        began = trio.current_time()
        await may_go_on()
        (page,) = await nodes.request_many(
            address, [("SCAN", cursor, "COUNT", str(PER_SCAN))], timeout=TIMEOUT, run_id=run_id
        )
        cursor, keys = page_read(page)
        looked += len(keys)
        await may_go_on()
        if strays := [key for key in keys if is_stray(key)]:
            (count,) = await nodes.request_many(
                address, [("UNLINK", *strays)], timeout=UNLINKS_WITHIN / 2, run_id=run_id
            )
            if not isinstance(count, int):
                text = count.text if isinstance(count, Failure) else repr(count)
                raise SweepError(f"{address} did not unlink keys: {text}")
            removed += count
        told(looked, removed)
        if cursor == b"0":
            return removed
        await trio.sleep((trio.current_time() - began) * REST)
