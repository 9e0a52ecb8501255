"""How long requests wait at a cutover, over many of them; what else the machine does is in it."""

from __future__ import annotations

import itertools
import json
import os
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from redis.crc import key_slot

from shardproxy.model import SLOT_COUNT
from tests.failover.load import connect
from tests.failover.moving.conftest import OpenMoving
from tests.failover.moving.site import MovingSite
from tests.failover.moving.workload import fill, still_faults, working

MOVES = 20  # a round; five of them move all slots, and their percentiles are worth a look
SLOTS = SLOT_COUNT // (5 * MOVES)
PACE = 0.005  # seconds from one command of the client that waits to the next
MOVED = '"slots moved"'  # in the log


@dataclass
class Waiter:
    """A client that counts, 200 times a second, in the slots that move next: it sees what clients see.

    What it finds has to be what it counted.
    """

    site: MovingSite
    keys: Sequence[str]  # of each move, in their order
    longest: list[float] = field(init=False)  # seconds, at each move
    stop: threading.Event = field(default_factory=threading.Event)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.longest = [0.0 for _ in self.keys]

    def run(self) -> None:
        client, counts = connect(self.site.proxy.address(), timeout=20.0), [0 for _ in self.keys]
        for moved in moves_told(self.site.proxy.directory / "proxy.log"):
            if self.stop.is_set() or moved == len(self.keys):
                break
            began = time.monotonic()
            counts[moved] += 1
            found = client.incr(self.keys[moved])
            took = time.monotonic() - began
            if found != counts[moved]:
                self.faults.append(f"{self.keys[moved]}: {found} and not {counts[moved]}")
            self.longest[moved] = max(self.longest[moved], took)
            time.sleep(max(0.0, PACE - took))
        client.close()


def moves_told(log: Path) -> Iterator[int]:
    """How many are over, as often as one asks."""
    moved, rest = 0, ""
    with log.open(errors="replace") as file:
        while True:
            *lines, rest = (rest + file.read()).split("\n")
            moved += sum(MOVED in line for line in lines)
            yield moved


@contextmanager
def waiting(site: MovingSite, first: int, moves: int) -> Iterator[Waiter]:
    """One for moves of so many slots each, from the first of them on."""
    wanted, keys = set(range(moves)), dict[int, str]()
    for number in itertools.count():
        move = (key_slot(f"waits:{number}".encode()) - first) // SLOTS
        if move in wanted:
            wanted.discard(move)
            keys[move] = f"waits:{number}"
        if not wanted:
            break
    waiter = Waiter(site, [keys[move] for move in range(moves)])
    thread = threading.Thread(target=waiter.run)
    thread.start()
    try:
        yield waiter
    finally:
        waiter.stop.set()
        thread.join()


def print_laps(site: MovingSite) -> None:
    """What fences spend their time on: between one lap and the next, in the median."""
    told = [json.loads(line) for line in site.proxy.log().splitlines() if '"laps_ms"' in line]
    laps = [line["laps_ms"] for line in told if line["event"] == "slots moved"]
    for before, after in pairwise(["began", *laps[0]]):
        spent = [lap[after] - lap.get(before, 0.0) for lap in laps]
        print(f"{before} -> {after}: {statistics.median(spent):.1f} ms")
    print("given up:", [line["why"] for line in told if line["event"] != "slots moved"])


def spread_text(milliseconds: Sequence[float]) -> str:
    """Their percentiles."""
    found = sorted(milliseconds)
    p50, p90, p99 = (found[len(found) * part // 100] for part in (50, 90, 99))
    return f"p50 {p50:.1f} ms, p90 {p90:.1f} ms, p99 {p99:.1f} ms, max {found[-1]:.1f} ms"


def test_many_moves_without_an_error(moving_with: OpenMoving, rounds: int) -> None:
    moves = MOVES * rounds
    first = SLOT_COUNT - moves * SLOTS
    site = moving_with(shards=2, empty=1)
    address = site.proxy.address()
    ends = fill(address, 5_000)
    with working(address, writers=2) as load, waiting(site, first, moves) as waiter:
        site.move(
            timeout=600,
            interval=1.0,  # as the console does
            do="move",
            moves=[f"{first}-{SLOT_COUNT - 1}:1"],
            slots_per_step=SLOTS,
        )
    print_laps(site)
    told = [json.loads(line) for line in site.proxy.log().splitlines() if MOVED in line]
    assert len(told) == moves
    waits = [took * 1000 for writer in load.writers for _, took in writer.waits]
    print(
        f"\npauses of {moves} moves: {spread_text([line['pause_ms'] for line in told])};"
        f" load {os.getloadavg()[0]:.1f}"
        f"\nthe longest wait of a client that writes there, at each: "
        f"{spread_text([took * 1000 for took in waiter.longest])}"
        f"\n{len(waits)} commands beside: {spread_text(waits)}"
    )
    assert load.errors == {}
    assert load.check() == []
    assert waiter.faults == []
    assert all(waiter.longest), "it wrote at every move"
    assert still_faults(address, ends) == []
    assert site.strays() == []
