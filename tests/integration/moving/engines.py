"""Engines between which keys are copied: what they hold, compared whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import redis as client
import trio
from redis.crc import key_slot

from shardproxy.fleet import EngineNode, RedisNode
from shardproxy.model import SlotRange
from shardproxy.replication.copier import EngineCopier
from shardproxy.replication.interface import CopyPlan, CopyStatus, End, Target

HALF = SlotRange(0, 8191)
ALL = SlotRange(0, 16383)
READS: dict[bytes, tuple[Any, ...]] = {
    b"string": ("GET",),
    b"list": ("LRANGE", 0, -1),
    b"set": ("SMEMBERS",),
    b"zset": ("ZRANGE", 0, -1, "WITHSCORES"),
    b"hash": ("HGETALL",),
    b"stream": ("XRANGE", "-", "+"),
}


def end(node: EngineNode) -> End:
    return End(node.address)


def plan(sources: Iterable[EngineNode], *targets: tuple[SlotRange, EngineNode], **more: Any) -> CopyPlan:
    return CopyPlan(
        sources=tuple(map(end, sources)),
        targets=tuple(Target((slots,), end(node)) for slots, node in targets),
        **more,
    )


def redis(node: EngineNode) -> RedisNode:
    assert isinstance(node, RedisNode)
    return node


def contents(node: EngineNode, slots: SlotRange = ALL, database: int = 0) -> dict[bytes, Any]:
    """All keys of the slots that last another moment: type, value in one order, and when it ends."""
    with client.Redis(node.address.host, node.address.port, db=database, protocol=2) as asking:
        asking.response_callbacks.clear()

        def ask(commands: list[tuple[Any, ...]]) -> list[Any]:
            pipe = asking.pipeline(transaction=False)
            for command in commands:
                pipe.execute_command(*command)
            return list(pipe.execute())

        keys = [key for key in ask([("KEYS", "*")])[0] if slots.first <= key_slot(key) <= slots.last]
        kinds, ends = ask([("TYPE", key) for key in keys]), ask([("PEXPIRETIME", key) for key in keys])
        lasting = [
            (key, kind, ends)
            for key, kind, ends in zip(keys, kinds, ends, strict=True)
            if kind in READS and (ends == -1 or ends > (time.time() + 5) * 1000)
        ]
        values = ask([(READS[kind][0], key, *READS[kind][1:]) for key, kind, _ in lasting])
    return {
        key: (kind, _in_order(kind, value), ends)
        for (key, kind, ends), value in zip(lasting, values, strict=True)
    }


def _in_order(kind: bytes, value: Any) -> Any:
    match kind:
        case b"set":
            return frozenset(value)
        case b"hash":
            return frozenset(zip(value[::2], value[1::2], strict=True))
        case b"string":
            return value
        case _:
            return repr(value)


def differences(ours: dict[bytes, Any], theirs: dict[bytes, Any]) -> list[bytes]:
    """Keys that are not the same on both sides."""
    return sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))


async def until(
    copier: EngineCopier, is_so: Callable[[CopyStatus], bool], within: float = 60.0
) -> CopyStatus:
    with trio.fail_after(within):
        while not is_so(status := copier.status):  # noqa: ASYNC110
            await trio.sleep(0.01)
    return status


async def reached(
    copier: EngineCopier, primary: EngineNode, within: float = 20.0, *, rests: bool = False
) -> None:
    """All that the primary has done is with the targets; and nothing more will be, if the copier rests."""
    await copier.reach(*await place(primary), within=within, rests=rests)


async def place(primary: EngineNode) -> tuple[int, str]:
    """How far it is, and in which history."""
    said = await trio.to_thread.run_sync(lambda: redis(primary).info("replication"))
    return int(said["master_repl_offset"]), str(said["master_replid"])
