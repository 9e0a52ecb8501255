"""The memcached side of the demo: what its nodes hold, and a short tour through the proxy."""

from __future__ import annotations

from collections.abc import Sequence

import trio
from rich.console import Console
from rich.table import Table

from shardproxy.fleet.node import EngineNode
from shardproxy.model import Address

KEYS = 3000
TIMEOUT = 10.0  # seconds for one stop of the tour


class MemcachedTourError(Exception):
    """What the tour saw is not what should be."""


async def run_memcached_tour(proxy: Address, nodes: Sequence[EngineNode], console: Console) -> int:
    """Write and read through the proxy, ask the nodes what came of it; return the exit code."""
    console.print(f"A memcached client on {proxy}, nodes behind it: {len(nodes)}", highlight=False)
    try:
        with trio.fail_after(TIMEOUT):
            await _write_and_read(proxy, nodes, console)
    except (MemcachedTourError, OSError, trio.TooSlowError) as e:
        console.print(
            f"[red]FAILED[/]  memcached: {str(e) or 'no reply in time'}", highlight=False, soft_wrap=True
        )
        return 1
    return 0


async def _write_and_read(proxy: Address, nodes: Sequence[EngineNode], console: Console) -> None:
    key = b"page:%08x"
    names = [key % (i * 2654435761 % (1 << 32)) for i in range(KEYS)]
    writes = b"".join(b"set %s 0 0 %d\r\n%s\r\n" % (name, len(name), name) for name in names)
    got = await ask(proxy, writes, b"STORED\r\n" * KEYS)
    expect("replies to set", KEYS, got.count(b"STORED\r\n"))
    console.print(f"[green]ok[/]      {KEYS} keys written in one pipeline", highlight=False)
    got = await ask(proxy, b"get " + b" ".join(names) + b"\r\n", b"\r\nEND\r\n")
    expect("values of one get", KEYS, got.count(b"VALUE "))
    console.print(f"[green]ok[/]      {KEYS} keys read by one get, gathered from all nodes", highlight=False)
    counts = [int((await statistics(node.address))["curr_items"]) for node in nodes]
    console.print(node_table(nodes, counts))
    expect("keys on all nodes together", KEYS, sum(counts))
    got = await ask(proxy, b"config get cluster\r\n", b"\n\r\nEND\r\n")
    expect("Auto Discovery", True, str(proxy.port).encode() in got)
    console.print("[green]ok[/]      Auto Discovery tells the proxy's address", highlight=False)
    expect("flush_all", b"OK\r\n", await ask(proxy, b"flush_all\r\n", b"\r\n"))
    expect("values after flush_all", b"END\r\n", await ask(proxy, b"get " + names[0] + b"\r\n", b"END\r\n"))
    console.print("[green]ok[/]      flush_all emptied every node", highlight=False)


def node_table(nodes: Sequence[EngineNode], counts: Sequence[int]) -> Table:
    table = Table("node", "keys", "share", header_style="bold")
    total = max(sum(counts), 1)
    for node, count in zip(nodes, counts, strict=True):
        table.add_row(str(node.address), str(count), f"{count / total:.0%}")
    return table


async def statistics(address: Address) -> dict[str, str]:
    """The answer of one node to `stats`."""
    lines = (await ask(address, b"stats\r\n", b"END\r\n")).decode().splitlines()
    return {name: value for _, name, value in (line.split(" ", 2) for line in lines if line != "END")}


async def ask(address: Address, request: bytes, end: bytes) -> bytes:
    """Send a request; return the reply, which ends with these bytes."""
    stream = await trio.open_tcp_stream(address.host, address.port)
    async with stream, trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, request)
        got = bytearray()
        while not got.endswith(end):
            data = await stream.receive_some(65536)
            if not data:
                raise MemcachedTourError(f"{address} closed the connection")
            got += data
        return bytes(got)
    raise AssertionError("unreachable")


def expect(what: str, wanted: object, got: object) -> None:
    if got != wanted:
        raise MemcachedTourError(f"{what}: expected {wanted!r:.200}, got {got!r:.200}")
