"""Which seals nodes bear, and when a shard's slots are of another generation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from shardproxy.failover.interfaces import SlotDesk
from shardproxy.failover.led import generation_next
from shardproxy.failover.sealing import KEPT, LOOK, SealTools, run_seals
from shardproxy.model import Address, Hold, SlotRange
from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.nodes import NodeUnreachable
from shardproxy.store.codec import record_decode, record_encode
from shardproxy.store.record import ShardRecord, ShardState
from shardproxy.wire.reply import Failure, Reply
from shardproxy.wire.resp import Argument

KEY = ShardKey("main", 1)
ONE, TWO = Address("one", 7000), Address("two", 7000)
RECORD = ShardRecord(KEY, 3, ShardState.OK, ONE, (ONE, TWO), run_id="run", generation=4, changed=9)
HOLD, OTHER = Hold((SlotRange(0, 9),)), Hold((SlotRange(0, 5),))


@pytest.mark.parametrize(
    ("before", "now", "grows"),
    [
        pytest.param(None, HOLD, True, id="some may leave"),
        pytest.param(OTHER, HOLD, True, id="others may"),
        pytest.param(HOLD, HOLD, False, id="as before"),
        pytest.param(HOLD, None, False, id="let go of, or gone"),
        pytest.param(None, Hold((SlotRange(0, 9),), only_writes=True), False, id="all is copied at once"),
    ],
)
def test_a_generation_ends_when_slots_may_leave(before: Hold | None, now: Hold | None, grows: bool) -> None:
    record = replace(RECORD, hold=before)
    assert generation_next(record, replace(record, hold=now)).generation == 4 + grows


def test_it_is_kept_and_proxies_act_on_it() -> None:
    assert record_decode(record_encode(RECORD), 0).generation == 4
    older = {name: value for name, value in record_encode(RECORD).items() if name != "generation"}
    assert record_decode(older, 0).generation == 0
    assert RECORD.served != replace(RECORD, generation=5).served


@dataclass
class Desk:
    records: dict[ShardKey, ShardRecord]
    lingers: float = 5.0
    cluster: str = "main"

    def seals(self, record: ShardRecord, latest: int = 1) -> tuple[str, ...]:
        return tuple(f"seal {record.generation - back}" for back in range(latest))


@dataclass
class Nodes:
    down: set[Address] = field(default_factory=set)
    refusing: set[Address] = field(default_factory=set)
    loaded: dict[Address, list[str]] = field(default_factory=dict)

    async def request_many(
        self, address: Address, requests: Sequence[Sequence[Argument]], **options: Any
    ) -> list[Reply]:
        await trio.lowlevel.checkpoint()
        if address in self.down:
            raise NodeUnreachable(address, "refused", is_sent=False)
        if address in self.refusing:
            return [Failure("NOPERM no")] * len(requests)
        assert {request[:2] for request in map(tuple, requests)} == {("SCRIPT", "LOAD")}
        self.loaded[address] = [str(request[2]) for request in requests]
        return [b"digest"] * len(requests)


async def test_every_node_has_the_latest_again_and_again(autojump_clock: MockClock) -> None:
    nodes, records = Nodes(down={TWO}), Board[ShardKey, ShardRecord]()
    desk = Desk({KEY: RECORD})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_seals, cast("SlotDesk", desk), SealTools(nodes, records))
        await trio.sleep(0.1)
        assert nodes.loaded == {ONE: [f"seal {4 - back}" for back in range(KEPT)]}, "the latest first"
        nodes.loaded.clear()
        nodes.down.clear()
        nodes.refusing = {ONE}
        await trio.sleep(LOOK)
        assert nodes.loaded.keys() == {TWO}, "somebody may have flushed them"
        nodes.loaded.clear()
        nodes.refusing.clear()
        await trio.sleep(1)
        desk.records = {KEY: replace(RECORD, generation=5)}
        records.show(KEY, desk.records[KEY])
        await trio.sleep(1.1)
        assert nodes.loaded[ONE][0] == nodes.loaded[TWO][0] == "seal 5", "what is new is told soon"
        nursery.cancel_scope.cancel()


async def test_nobody_needs_them_where_nobody_shares_the_store() -> None:
    nodes = Nodes()
    with trio.fail_after(1):
        desk = cast("SlotDesk", Desk({KEY: RECORD}, lingers=0.0))
        await run_seals(desk, SealTools(nodes, Board()))
    assert nodes.loaded == {}
