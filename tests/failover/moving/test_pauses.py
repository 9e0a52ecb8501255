"""How long requests wait at a cutover, over a hundred of them; what else the machine does is in it."""

from __future__ import annotations

import os
import statistics

from tests.failover.moving.conftest import OpenMoving
from tests.failover.moving.workload import fill, still_faults, working

MOVES = 100
SLOTS = 16384 // MOVES


def test_a_hundred_moves_without_an_error(moving_with: OpenMoving) -> None:
    site = moving_with(shards=2, empty=1)
    address = site.proxy.address()
    ends = fill(address, 5_000)
    with working(address, writers=2) as load:
        result = site.move(
            timeout=600,
            do="move",
            moves=[f"{16384 - MOVES * SLOTS}-16383:1"],
            slots_per_step=SLOTS,
        )
    pauses = sorted(result["pauses_ms"])
    assert len(pauses) == MOVES
    waits = sorted(took * 1000 for writer in load.writers for _, took in writer.waits)
    print(
        f"\npauses of {MOVES} moves: p50 {statistics.median(pauses):.1f} ms, p90 {pauses[89]:.1f} ms,"
        f" p99 {pauses[98]:.1f} ms, max {pauses[-1]:.1f} ms; load {os.getloadavg()[0]:.1f}"
        f"\n{len(waits)} commands beside: p50 {waits[len(waits) // 2]:.2f} ms,"
        f" p99 {waits[len(waits) * 99 // 100]:.1f} ms, max {waits[-1]:.1f} ms"
    )
    assert load.errors == {}
    assert load.check() == []
    assert still_faults(address, ends) == []
    assert site.strays() == []
