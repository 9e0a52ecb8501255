"""What a primary's seal says to who is out of touch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import MockClock

from shardproxy.model import Address
from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.model.seal import Seal, seal_of, seal_script
from shardproxy.nodes import NodeUnreachable
from shardproxy.store.record import ShardRecord, ShardState
from shardproxy.topology.sealed import LOOK, SealWatch
from shardproxy.wire.reply import Failure, Reply
from shardproxy.wire.resp import Argument

KEY, NODE = ShardKey("main", 1), Address("node", 7000)
RECORD = ShardRecord(KEY, 3, ShardState.OK, NODE, (NODE,), run_id="run", generation=4, changed=9)


@dataclass
class Nodes:
    """One primary; None: it is down."""

    reply: Reply | None
    asked: list[tuple[Argument, ...]] = field(default_factory=list)

    async def request_many(
        self,
        address: Address,
        requests: Sequence[Sequence[Argument]],
        *,
        timeout: float,
        run_id: str | None = None,
    ) -> list[Reply]:
        assert (address, run_id) == (NODE, "run")
        self.asked += map(tuple, requests)
        await trio.lowlevel.checkpoint()
        if self.reply is None:
            raise NodeUnreachable(address, "refused", is_sent=False)
        return [self.reply]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ([1, 0], None),
        ([1, 1], "has the seal of a later move"),
        ([0, 1], "has the seal of a later move"),
        ([0, 0], "lacks the seal that says otherwise"),
        (None, None),
        (Failure("NOPERM no"), None),
    ],
)
async def test_what_it_says_is_shown(autojump_clock: MockClock, reply: Reply, expected: str | None) -> None:
    nodes, unsealed = Nodes(reply), Board[ShardKey, str]()
    seals: dict[ShardKey, Seal] = {KEY: seal_of("us", KEY, 4)}
    watch = SealWatch(lambda: seals, {KEY: RECORD}, lambda cluster: nullcontext(nodes), unsealed)
    async with trio.open_nursery() as nursery:
        await nursery.start(watch.run)
        await trio.sleep(2.5 * LOOK)
        assert nodes.asked[0] == ("SCRIPT", "EXISTS", *seals[KEY])
        if expected is None:
            assert unsealed == {}
        else:
            assert expected in unsealed[KEY]
        nodes.reply = [1, 0]
        await trio.sleep(2 * LOOK)
        assert unsealed == {}, "it was only not there yet"
        nodes.reply = [1, 1]
        await trio.sleep(2 * LOOK)
        assert list(unsealed) == [KEY]
        seals.clear()
        await trio.sleep(2 * LOOK)
        assert unsealed == {}, "in touch again it does not count"
        nursery.cancel_scope.cancel()


def test_each_seal_is_one_groups_shards_and_generations() -> None:
    seals = {
        seal_of(group, ShardKey(cluster, shard), generation)[0]
        for group in ("us", "them")
        for cluster in ("main", "other")
        for shard in (1, 2)
        for generation in (1, 2)
    }
    assert len(seals) == 16
    assert seal_of("us", KEY, 1)[1] == seal_of("us", KEY, 2)[0]
    assert "\n" not in seal_script("us", KEY, 1)
