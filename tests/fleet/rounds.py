"""Rounds of one fault in one mode under load, and what came of them."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.failover.load import Ledger, load_through
from tests.failover.network import Places
from tests.fleet.arrangement import PATIENCE, Arrangement
from tests.fleet.faults import Fault

SETTLE = 0.7  # seconds of load before each fault, and after it was mended
BUSY = 1.0  # load per core, before any of ours, from which on other work moves the figures


@dataclass
class Row:
    """All rounds of one fault in one mode."""

    mode: str
    fault: str
    rounds: int = 0
    attempted: int = 0
    acknowledged: int = 0
    lost: int = 0
    lossy_rounds: int = 0
    in_doubt: int = 0
    reads: int = 0
    stale: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    writable: list[float] = field(default_factory=list)  # seconds without a write, of each round
    clean: list[float] = field(default_factory=list)  # seconds until the last write failed
    wrong: list[str] = field(default_factory=list)  # what may not be in any mode
    date: str = ""
    is_busy: bool = False

    def add(self, ledger: Ledger, found: dict[str, list[int]], gap: float, began: float) -> None:
        lost = len(ledger.lost(found))
        self.rounds += 1
        self.attempted += len(ledger.writes)
        self.acknowledged += sum(map(len, ledger.acknowledged.values()))
        self.lost += lost
        self.lossy_rounds += bool(lost)
        self.in_doubt += sum(map(len, ledger.in_doubt.values()))
        self.reads += ledger.reads
        self.stale += ledger.stale
        self.errors += ledger.errors
        self.writable.append(gap)
        self.clean.append(ledger.clean_after(began))
        self.wrong += ledger.why_unsound(found)

    def encode(self) -> dict[str, Any]:
        return {**vars(self), "errors": dict(self.errors)}


def row_decode(values: dict[str, Any]) -> Row:
    return Row(**{**values, "errors": Counter(values["errors"])})


def run_rounds(site: Arrangement, fault: Fault, places: Places | None, rounds: int) -> Row:
    row = Row(site.name, fault.name, date=f"{datetime.now(UTC):%Y-%m-%d %H:%M}", is_busy=is_busy())
    for _ in range(rounds):
        site.wait_whole()
        with load_through(site.ways(), site.tag) as ledger:
            time.sleep(SETTLE)
            began = time.monotonic()
            with ExitStack() as mend:
                fault.strike(site, places, mend)
                left = [way.name for way in site.ways()]  # a proxy that was killed serves nobody
                time.sleep(max(0.0, began + fault.lasts - time.monotonic()))
            mended = time.monotonic()
            wait_written(ledger, mended)
            time.sleep(SETTLE)
            gap = ledger.longest_gap(began, time.monotonic(), left)
        site.wait_whole()
        with closing(site.reader()) as reader:
            found = ledger.found(reader)
        row.add(ledger, found, gap, began)
        row.wrong += site.why_wrong(ledger, found)
    return row


def wait_written(ledger: Ledger, since: float) -> None:
    """Every way takes writes again, or does not at all."""
    ways = {write.way for write in tuple(ledger.writes)}
    deadline = time.monotonic() + PATIENCE
    while any(ledger.first_after(since, way) is None for way in ways) and time.monotonic() < deadline:
        time.sleep(0.05)


def is_busy() -> bool:
    """Whether others work on this machine, too."""
    return os.getloadavg()[0] > BUSY * (os.cpu_count() or 1)


def quantile(values: Sequence[float], part: float) -> float:
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)]
