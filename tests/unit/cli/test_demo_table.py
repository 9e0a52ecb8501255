"""The demo's table reads what nodes say of themselves."""

from __future__ import annotations

import pytest
from rich.console import Console

from shardproxy.cli.demo_table import NodeRow, node_row, node_rows, screen_of, shard_table, size_text
from shardproxy.fleet import RedisNode, open_fleet
from shardproxy.model import Address, Node, Shard, SlotRange
from shardproxy.nodes import LinkTimeouts, NodeLinks

HERE = Address("127.0.0.1", 7101)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0.0 B"),
        (1023, "1023.0 B"),
        (1024, "1.0 KiB"),
        (1536 << 10, "1.5 MiB"),
        (1 << 60, "1048576.0 TiB"),
    ],
)
def test_sizes_are_for_people(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("info", "row"),
    [
        (
            "role:master\r\nused_memory:5\r\ninstantaneous_ops_per_sec:7\r\ndb0:keys=9,expires=0,avg_ttl=0\r\n",
            NodeRow(HERE, "primary", "up", True, is_answering=True, keys=9, rate=7, memory=5),
        ),
        (
            "role:slave\r\nmaster_link_status:up\r\n",
            NodeRow(HERE, "replica", "in step", True, is_answering=True),
        ),
        (
            "# Replication\r\nrole:slave\r\nmaster_link_status:down\r\n",
            NodeRow(HERE, "replica", "cut off from its primary", False, is_answering=True),
        ),
    ],
)
def test_info_becomes_a_row(info: str, row: NodeRow) -> None:
    assert node_row(HERE, info) == row


async def test_a_node_that_is_down_is_shown_so() -> None:
    async with open_fleet(shards=1, replicas=1) as fleet, NodeLinks(timeouts=LinkTimeouts(0.5, 0.5)) as links:
        primary, replica = fleet.nodes
        assert isinstance(primary, RedisNode)
        primary.ask("SET", "k", "v")
        shard = Shard(0, (SlotRange(0, 16383),), Node(primary.address), (Node(replica.address),), number=0)
        fleet.kill(replica)
        console = Console(width=110, no_color=True)
        with console.capture() as capture:
            console.print(shard_table([shard], await node_rows([shard], links)))
    lines = capture.get().splitlines()
    (up,) = [line for line in lines if str(primary.address) in line]
    (down,) = [line for line in lines if str(replica.address) in line]
    assert [cell.strip() for cell in up.split("│")[3:6]] == ["primary", "0-16383", "1"]
    assert "down: connection refused" in down


@pytest.mark.parametrize("count", [1, 3, 16])
def test_all_that_matters_fits_on_a_small_terminal(count: int) -> None:
    shards = [
        Shard(
            n,
            (SlotRange(n, n),),
            Node(Address("127.0.0.1", 40000 + n)),
            (Node(Address("127.0.0.1", 50000 + n)),),
            number=n,
        )
        for n in range(count)
    ]
    rows = {
        node.address: NodeRow(node.address, "replica", "in step", True, True, 1_000_000, 100_000, 1 << 30)
        for shard in shards
        for node in shard.nodes
    }
    console = Console(width=80, height=24, no_color=True)
    with console.capture() as capture:
        console.print(screen_of(shards, rows, 80, 24, "redis-cli -p 7000"))
    lines = capture.get().splitlines()
    assert len(lines) < 24
    assert lines[-1] == "redis-cli -p 7000"
    assert all(line.rstrip().endswith("in step") for line in lines if "127.0.0.1:" in line)
    assert ("more shards" in lines[-2]) == (count == 16)
