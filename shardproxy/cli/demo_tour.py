"""The demo's tour: a client writes and reads through the proxy, and the nodes are asked what came of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import trio
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from shardproxy.model import Address, Topology
from shardproxy.nodes import NodeError, NodeFailure, NodeLink, NodeLinks
from shardproxy.wire.reply import Failure, Reply
from shardproxy.wire.resp import Argument

KEYS = 3000
BATCH = 250  # requests in one write
SPREAD = 30  # keys of one multi-key command
REPLICA_TIMEOUT = 5.0  # seconds until replicas must have what their primaries have


class TourError(Exception):
    """What the tour saw is not what should be."""


@dataclass(frozen=True, slots=True)
class Tour:
    """What every stop may use."""

    proxy: NodeLink
    nodes: NodeLinks
    topology: Topology
    console: Console

    async def keys_on(self, address: Address) -> int:
        """How many keys one node has, asked behind the proxy's back."""
        count = await self.nodes.request(address, "DBSIZE")
        assert isinstance(count, int)
        return count


def key(number: int) -> bytes:
    """A key such as applications make; numbers in a row would be spread more evenly than any real keys."""
    return b"session:%08x" % (number * 2654435761 % (1 << 32))


def value(number: int) -> bytes:
    return b"value %d" % number


def expect(what: str, wanted: object, got: object) -> None:
    if got != wanted:
        raise TourError(f"{what}: expected {wanted!r:.200}, got {got!r:.200}")


async def ask_many(tour: Tour, requests: Sequence[Sequence[Argument]]) -> list[Reply]:
    """Pipeline the requests through the proxy; raise TourError when one is refused."""
    replies: list[Reply] = []
    for start in range(0, len(requests), BATCH):
        replies += await tour.proxy.request_many(requests[start : start + BATCH])
    for request, reply in zip(requests, replies, strict=True):
        if isinstance(reply, Failure):
            raise TourError(f"{request[0]!s} was answered by: {reply.text}")
    return replies


async def stop_write(tour: Tour) -> str:
    replies = await ask_many(tour, [("SET", key(i), value(i)) for i in range(KEYS)])
    expect("replies to SET", [b"OK"] * KEYS, replies)
    return f"{KEYS} keys written, {BATCH} requests at a time"


async def stop_read(tour: Tour) -> str:
    replies = await ask_many(tour, [("GET", key(i)) for i in range(KEYS)])
    expect("replies to GET", [value(i) for i in range(KEYS)], replies)
    return f"{KEYS} keys read, every reply in its place"


async def stop_landed(tour: Tour) -> str:
    table = Table("shard", "primary", "slots", "keys", "share", header_style="bold")
    counts = []
    for shard in tour.topology.shards:
        assert shard.primary is not None
        counts.append(await tour.keys_on(shard.primary.address))
        slots = ", ".join(map(str, shard.slots))
        share = f"{counts[-1] / KEYS:.0%}"
        table.add_row(shard.label, str(shard.primary), slots, str(counts[-1]), share)
    tour.console.print(table)
    expect("keys on all shards together", KEYS, sum(counts))
    if min(counts) == 0:
        raise TourError("a shard has no key at all")
    return f"shards with keys: {len(counts)}, with {min(counts)} to {max(counts)} each"


async def stop_replicas(tour: Tour) -> str:
    count = sum(len(shard.replicas) for shard in tour.topology.shards)
    with trio.move_on_after(REPLICA_TIMEOUT):
        for shard in tour.topology.shards:
            assert shard.primary is not None
            wanted = await tour.keys_on(shard.primary.address)
            for replica in shard.replicas:
                while await tour.keys_on(replica.address) != wanted:  # noqa: ASYNC110  # in another process
                    await trio.sleep(0.01)
        return f"replicas with all their primary has: {count} of {count}"
    raise TourError(f"a replica has not caught up within {REPLICA_TIMEOUT:g} s")


async def stop_many(tour: Tour) -> str:
    names = [b"spread:%d" % i for i in range(SPREAD)]
    pairs = [x for i, name in enumerate(names) for x in (name, value(i))]
    expect("MSET", b"OK", await tour.proxy.request("MSET", *pairs))
    expect(
        "MGET", [*map(value, range(SPREAD)), None], await tour.proxy.request("MGET", *names, "spread:none")
    )
    expect("EXISTS", SPREAD, await tour.proxy.request("EXISTS", *names))
    expect("TOUCH", SPREAD, await tour.proxy.request("TOUCH", *names))
    expect("DEL", SPREAD // 2, await tour.proxy.request("DEL", *names[: SPREAD // 2]))
    expect("UNLINK", SPREAD - SPREAD // 2, await tour.proxy.request("UNLINK", *names))
    return f"MSET, MGET, EXISTS, TOUCH, DEL, UNLINK of {SPREAD} keys across all shards"


async def stop_tags(tour: Tour) -> str:
    await ask_many(tour, [("SADD", "{basket}:a", "x", "y"), ("SADD", "{basket}:b", "y", "z")])
    expect(
        "SINTER of two keys with one tag",
        [b"y"],
        await tour.proxy.request("SINTER", "{basket}:a", "{basket}:b"),
    )
    await tour.proxy.request("DEL", "{basket}:a", "{basket}:b")
    if len(tour.topology.shards) == 1:
        await ask_many(tour, [("SADD", "basket", "x"), ("SADD", "cart", "x")])
        expect("SINTER of two slots", [b"x"], await tour.proxy.request("SINTER", "basket", "cart"))
        await tour.proxy.request("DEL", "basket", "cart")
        return "all keys work together: one shard is one Redis"
    try:
        await tour.proxy.request("SINTER", key(1), key(2))
    except NodeError as e:
        expect("SINTER of two slots", "CROSSSLOT", e.code)
    else:
        raise TourError("SINTER of two slots was not refused")
    return "keys with one {tag} work together, others are refused with CROSSSLOT"


async def stop_clean(tour: Tour) -> str:
    expect("DEL", KEYS, await tour.proxy.request("DEL", *map(key, range(KEYS)), timeout=10.0))
    left = [await tour.keys_on(shard.primary.address) for shard in tour.topology.shards if shard.primary]
    expect("keys left on the shards", [0] * len(left), left)
    return f"all {KEYS} keys deleted by one DEL"


STOPS: tuple[Callable[[Tour], Awaitable[str]], ...] = (
    stop_write,
    stop_read,
    stop_landed,
    stop_replicas,
    stop_many,
    stop_tags,
    stop_clean,
)


async def run_tour(proxy: Address, topology: Topology, console: Console) -> int:
    """Make every stop; return the exit code."""
    began = trio.current_time()
    failed = 0
    console.print(f"A client on {proxy}, shards behind it: {len(topology.shards)}", highlight=False)
    async with NodeLink(proxy) as link, NodeLinks() as nodes:
        tour = Tour(link, nodes, topology, console)
        for stop in STOPS:
            try:
                console.print(f"[green]ok[/]      {escape(await stop(tour))}", highlight=False)
            except (TourError, NodeError, NodeFailure) as e:
                failed += 1
                name = stop.__name__.removeprefix("stop_")
                console.print(f"[red]FAILED[/]  {name}: {escape(str(e))}", highlight=False, soft_wrap=True)
    took = trio.current_time() - began
    console.print(f"{len(STOPS) - failed} passed, {failed} failed in {took:.1f} s", highlight=False)
    return 1 if failed else 0
