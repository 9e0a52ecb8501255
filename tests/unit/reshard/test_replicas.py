"""Who counts as having what a primary has."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio.testing

from shardproxy.model import Address
from shardproxy.reshard.replicas import replicas_wait
from shardproxy.wire.reply import Reply
from shardproxy.wire.resp import Argument

PRIMARY = Address("shard0", 7000)


class Primary:
    """Says that any number of replicas have it all, as WAIT does on a connection that has written nothing."""

    def __init__(self, role: str, *replicas: str) -> None:
        self.text = f"role:{role}\r\nmaster_replid:{'a' * 40}\r\nmaster_repl_offset:500\r\n"
        self.text += "slave_repl_offset:500\r\nmaster_host:10.0.0.2\r\nmaster_port:7000\r\n"
        self.text += f"connected_slaves:{len(replicas)}\r\n"
        for number, one in enumerate(replicas):
            self.text += f"slave{number}:ip=10.0.0.1,{one},lag=0\r\n"

    async def request_many(
        self,
        address: Address,
        requests: Sequence[Sequence[Argument]],
        *,
        timeout: float,
        run_id: str | None = None,
    ) -> list[Reply]:
        await trio.sleep(0.0001)
        assert run_id == "run"
        return [9 if request[0] == "WAIT" else self.text.encode() for request in requests]


@pytest.mark.parametrize(
    ("replica", "counts"),
    [
        ("port=7001,state=online,offset=500", True),
        ("port=7001,state=online,offset=501", True),
        ("port=7001,state=online,offset=499", False),
        ("port=7001,state=send_bulk,offset=500", False),
        ("port=0,state=online,offset=500", False),
    ],
    ids=["has it", "has more", "lacks some", "still syncs", "only reads"],
)
async def test_a_replica_counts_that_has_it(
    replica: str, counts: bool, autojump_clock: trio.testing.MockClock
) -> None:
    nodes = Primary("master", replica)
    assert await replicas_wait(nodes, PRIMARY, "run", 1, within=0.1) is counts
    assert not await replicas_wait(nodes, PRIMARY, "run", 2, within=0.1)
    assert trio.current_time() < 0.3


async def test_who_is_no_primary_vouches_for_nothing(autojump_clock: trio.testing.MockClock) -> None:
    nodes = Primary("slave", "port=7001,state=online,offset=500")
    assert not await replicas_wait(nodes, PRIMARY, "run", 1, within=0.1)
