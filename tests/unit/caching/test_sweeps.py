"""How many writes wait for their database, as sweeps find it, without engines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from shardproxy.caching.draining.sweeping import Sweeping
from shardproxy.caching.engines import Process
from shardproxy.caching.statistics import CachingStatistics
from shardproxy.model import SLOT_COUNT, Address
from shardproxy.nodes import NodeUnreachable
from tests.fixtures.caching import names

ONE, OTHER = (Process(Address("10.0.0.1", port), "") for port in (1, 2))


class Engines:
    """Two primaries, each with the first half of its slots' streams as long as is told."""

    def __init__(self) -> None:
        self.notes = {ONE: 3, OTHER: 5}
        self.down: set[Process] = set()

    def slots(self, cluster: str) -> list[tuple[Process, list[int]]]:
        half = SLOT_COUNT // 2
        return [(ONE, list(range(half))), (OTHER, list(range(half, SLOT_COUNT)))]

    async def request_all(
        self, process: Process, requests: Sequence[Sequence[Any]], timeout: float = 0.0
    ) -> list[Any]:
        if process in self.down:
            raise NodeUnreachable(process.address, "refused", is_sent=False)
        first = names().of_slot("main", 0 if process is ONE else SLOT_COUNT - 1).stream
        return [self.notes[process] if request[1] == first else 0 for request in requests]


async def test_what_others_have_drained_counts_no_more_though_a_shard_is_down() -> None:
    """Else writes to all the others would be refused for as long as it is."""
    engines, statistics = Engines(), CachingStatistics()
    sweeping = Sweeping(cast("Any", engines), names(), statistics, lambda slot: None)
    known = statistics.cluster("main")
    assert await sweeping.sweep("main")
    assert known.backlog == 8
    engines.down.add(OTHER)
    known.backlog += 1000  # were noted here, and another proxy drains them
    engines.notes[ONE] = 0
    assert not await sweeping.sweep("main")
    assert known.backlog == 5, "of the one that is down as it was"
    engines.down.add(ONE)
    known.backlog += 7
    assert not await sweeping.sweep("main")
    assert known.backlog == 12
