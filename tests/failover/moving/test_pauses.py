"""How long requests wait at a cutover, over a hundred of them; what else the machine does is in it."""

from __future__ import annotations

import json
import os
import statistics
from itertools import pairwise

from tests.failover.moving.conftest import OpenMoving
from tests.failover.moving.site import MovingSite
from tests.failover.moving.workload import fill, still_faults, working

MOVES = 100
SLOTS = 16384 // MOVES


def print_laps(site: MovingSite) -> None:
    """What fences spend their time on: between one lap and the next, in the median."""
    told = [json.loads(line) for line in site.proxy.log().splitlines() if '"laps_ms"' in line]
    laps = [line["laps_ms"] for line in told if line["event"] == "slots moved"]
    for before, after in pairwise(["began", *laps[0]]):
        spent = [lap[after] - lap.get(before, 0.0) for lap in laps]
        print(f"{before} -> {after}: {statistics.median(spent):.1f} ms")
    print("given up:", [line["why"] for line in told if line["event"] != "slots moved"])


def test_a_hundred_moves_without_an_error(moving_with: OpenMoving) -> None:
    site = moving_with(shards=2, empty=1)
    address = site.proxy.address()
    ends = fill(address, 5_000)
    with working(address, writers=2) as load:
        site.move(
            timeout=600,
            do="move",
            moves=[f"{16384 - MOVES * SLOTS}-16383:1"],
            slots_per_step=SLOTS,
        )
    print_laps(site)
    told = [json.loads(line) for line in site.proxy.log().splitlines() if '"slots moved"' in line]
    pauses = sorted(line["pause_ms"] for line in told)
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
