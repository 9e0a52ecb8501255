"""What an engine in cluster mode says of another one's keys is followed once, and no client hears of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

from shardproxy.commands.call import Call
from shardproxy.commands.shards import ask_shard
from shardproxy.model import Address, Engine, Node, Shard, Topology, split_evenly
from shardproxy.nodes import Received
from shardproxy.wire.reply import Failure

HERE, THERE = Address("10.0.0.1", 7001), Address("10.0.0.2", 7002)
SHARDS = tuple(
    Shard(index, (slots,), Node(address), number=index)
    for index, (slots, address) in enumerate(zip(split_evenly(2), (HERE, THERE), strict=True))
)
OK = Received(b"value", b"$5\r\nvalue\r\n")


def saying(text: str) -> Received:
    return Received(Failure(text), f"-{text}\r\n".encode())


class Nodes:
    """Answers one request after another, and remembers who was asked what."""

    def __init__(self, *answers: Received) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[Address, tuple[Any, ...]]] = []

    async def request_raw(self, address: Address, *args: Any, **_: Any) -> Received:
        self.asked.append((address, args))
        return self.answers.pop(0)

    @asynccontextmanager
    async def borrow(self, address: Address, timeout: float | None) -> AsyncIterator[Any]:
        async def request(*args: Any, **_: Any) -> None:
            self.asked.append((address, args))

        async def request_raw(*args: Any, **_: Any) -> Received:
            return await self.request_raw(address, *args)

        yield SimpleNamespace(request=request, request_raw=request_raw)


async def ask(nodes: Nodes) -> Any:
    table = SimpleNamespace(find=lambda args: None)
    topology = Topology("main", Engine.REDIS, 1, SHARDS)
    call = SimpleNamespace(nodes=nodes, topology=topology, table=table, args=(b"GET", b"b"), db=0)
    return await ask_shard(cast("Call", call), SHARDS[0], "GET", "b")


def asked(nodes: Nodes) -> Sequence[tuple[Address, tuple[Any, ...]]]:
    return nodes.asked


async def test_who_is_named_is_asked() -> None:
    nodes = Nodes(saying(f"MOVED 3300 {THERE}"), OK)
    assert (await ask(nodes)).reply == b"value"
    assert asked(nodes) == [(HERE, ("GET", "b")), (THERE, ("GET", "b"))]
    nodes = Nodes(saying(f"ASK 3300 {THERE}"), OK)
    assert (await ask(nodes)).reply == b"value"
    assert asked(nodes)[1:] == [(THERE, ("ASKING",)), (THERE, ("GET", "b"))]


async def test_nobody_hears_of_a_slot_that_is_nowhere() -> None:
    for answers in (
        [saying(f"MOVED 3300 {THERE}"), saying(f"MOVED 3300 {HERE}")],
        [saying("MOVED 3300 10.0.0.9:7009")],
    ):
        answer = await ask(Nodes(*answers))
        assert answer.error == "TRYAGAIN the slot moves, command not executed"
    assert (await ask(Nodes(saying("ERR no")))).error == "ERR no"
