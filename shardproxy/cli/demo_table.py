"""The demo's table: what each node is and does, asked of the nodes themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import trio
from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from shardproxy.model import Address, Shard
from shardproxy.nodes import LinkTimeouts, NodeError, NodeFailure, NodeLinks

LIVE_INTERVAL = 1.0  # seconds between refreshes on a terminal
PLAIN_INTERVAL = 30.0  # seconds between tables where there is none
IN_STEP_TIMEOUT = 10.0  # seconds until replication that is being built is looked at as it is
TIMEOUTS = LinkTimeouts(connect=0.5, reply=1.0)
ALL_COLUMNS = 96  # a terminal that is narrower has no room for the whole table
AROUND = 6  # lines of a table that are no rows: its head, its sums, what is between


@dataclass(frozen=True, slots=True)
class NodeRow:
    """What one node says of itself; numbers are 0 while it does not answer."""

    address: Address
    role: str
    state: str
    is_up: bool
    is_answering: bool = False
    keys: int = 0
    rate: int = 0  # requests per second
    memory: int = 0  # bytes


async def watch_table(shards: Sequence[Shard], console: Console, below: str) -> None:
    """Show the table for ever: in place on a terminal, else once in a while below each other.

    What is said `below` it, in one line, stays in sight on a terminal however low that is.
    """
    async with NodeLinks(timeouts=TIMEOUTS) as links:
        if not console.is_terminal:
            while True:
                console.print(shard_table(shards, await node_rows(shards, links)))
                await trio.sleep(PLAIN_INTERVAL)
        with Live(console=console, auto_refresh=False, transient=False) as live:
            while True:
                rows = await node_rows(shards, links)
                live.update(screen_of(shards, rows, console.width, console.height, below), refresh=True)
                await trio.sleep(LIVE_INTERVAL)


def screen_of(
    shards: Sequence[Shard], rows: dict[Address, NodeRow], width: int, height: int, below: str
) -> Group:
    """What fits on a terminal of so many columns and lines: as many shards as there is room for."""
    room = height - AROUND - math.ceil(len(below) / width)
    shown: list[Shard] = []
    for shard in shards:
        room -= len(shard.nodes) + 1
        if room < 0 and shown:
            break
        shown.append(shard)
    more = [Text(f"and {count} more shards")] if (count := len(shards) - len(shown)) else []
    return Group(shard_table(shards, rows, width, shown), *more, Text(below, style="bold"))


async def wait_in_step(shards: Sequence[Shard], timeout: float = IN_STEP_TIMEOUT) -> None:
    """Wait until every node has its role and every replica its primary's data, or so long."""
    async with NodeLinks(timeouts=TIMEOUTS) as links:
        with trio.move_on_after(timeout):
            while not all(row.is_up for row in (await node_rows(shards, links)).values()):  # noqa: ASYNC110
                await trio.sleep(0.02)


async def node_rows(shards: Sequence[Shard], links: NodeLinks) -> dict[Address, NodeRow]:
    """Ask every node at once; none is waited for longer than a second."""
    rows: dict[Address, NodeRow] = {}

    async def ask(address: Address) -> None:
        try:
            info = await links.request(address, "INFO")
        except NodeError as e:
            rows[address] = NodeRow(address, "?", e.failure.text, is_up=False)
        except NodeFailure as e:
            rows[address] = NodeRow(address, "?", f"down: {e.why}", is_up=False)
        else:
            assert isinstance(info, bytes)
            rows[address] = node_row(address, info.decode(errors="replace"))

    async with trio.open_nursery() as nursery:
        for shard in shards:
            for node in shard.nodes:
                nursery.start_soon(ask, node.address)
    return rows


def node_row(address: Address, info: str) -> NodeRow:
    """Read a node's INFO."""
    fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    is_primary = fields.get("role") == "master"
    is_linked = fields.get("master_link_status") == "up"
    keyspace = dict(pair.split("=", 1) for pair in fields.get("db0", "keys=0").split(","))
    return NodeRow(
        address,
        role="primary" if is_primary else "replica",
        state="up" if is_primary else "in step" if is_linked else "cut off from its primary",
        is_up=is_primary or is_linked,
        is_answering=True,
        keys=int(keyspace["keys"]),
        rate=int(fields.get("instantaneous_ops_per_sec", 0)),
        memory=int(fields.get("used_memory", 0)),
    )


def shard_table(
    shards: Sequence[Shard],
    rows: dict[Address, NodeRow],
    width: int = ALL_COLUMNS,
    shown: Sequence[Shard] | None = None,
) -> Table:
    """A table of all nodes (or those `shown`), with the sums of all primaries below.

    Narrower than `ALL_COLUMNS` it goes without frame and memory: the state is what people look for.
    """
    is_wide = width >= ALL_COLUMNS
    primaries = [row for row in rows.values() if row.role == "primary"]
    sums = (
        "",
        "all",
        "",
        "",
        *(f"{n:,}" for n in (sum(r.keys for r in primaries), sum(r.rate for r in primaries))),
    )
    table = Table(
        show_footer=True,
        header_style="bold",
        footer_style="bold",
        box=box.HEAVY_HEAD if is_wide else box.SIMPLE_HEAD,
        pad_edge=is_wide,
    )
    for name, total in zip(("shard", "address", "role", "slots", "keys", "ops/s"), sums, strict=True):
        table.add_column(name, total, justify="right" if name in ("keys", "ops/s") else "left", no_wrap=True)
    if is_wide:
        table.add_column("memory", size_text(sum(r.memory for r in primaries)), justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True, overflow="ellipsis")
    for shard in shards if shown is None else shown:
        for node in shard.nodes:
            row = rows[node.address]
            counts = (f"{row.keys:,}", f"{row.rate:,}", size_text(row.memory)) if row.is_answering else "---"
            table.add_row(
                shard.label,
                str(row.address),
                row.role,
                ", ".join(map(str, shard.slots)) if node == shard.nodes[0] else "",
                *(counts if is_wide else counts[:2]),
                row.state,
                style="" if row.is_up else "red",
            )
        table.add_section()
    return table


def size_text(size: int) -> str:
    """Bytes for people: `1.4 MiB`."""
    power = min(int(math.log(size, 1024)), 4) if size > 0 else 0
    return f"{size / 1024**power:.1f} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"
