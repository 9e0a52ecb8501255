"""The demo's accident: a primary is killed while clients write; the timeline of what follows is printed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

import trio
from rich.console import Console
from rich.markup import escape

from shardproxy.cli.ask import AskError, Proxy, ask
from shardproxy.fleet import Fleet, RedisNode, wait_ready
from shardproxy.model import Address
from shardproxy.nodes import NodeError, NodeFailure, NodeLink
from shardproxy.wire.reply import Failure

WRITERS = 8
PAUSE = 0.002  # seconds between two writes of a writer
WARM_UP = 0.5  # seconds of writing before the accident
PATIENCE = 10.0  # seconds until writes must go on, and until the old primary must be back
BATCH = 500


class AccidentError(Exception):
    """What came of the accident is not what should."""


@dataclass(slots=True)
class Load:
    """Writers, each with a connection of its own, and what became of their writes."""

    proxy: Address
    acknowledged: list[tuple[bytes, float]] = field(default_factory=list)  # key, trio time of the reply
    longest: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(WRITERS):
                nursery.start_soon(self._write, number)

    async def _write(self, number: int) -> None:
        async with NodeLink(self.proxy) as link:
            for turn in count():
                key, began = b"accident:%d:%d" % (number, turn), trio.current_time()
                try:
                    await link.request("SET", key, turn)
                except NodeError as error:
                    self.errors["in doubt" if "INDOUBT" in error.failure.text else error.failure.text] += 1
                except NodeFailure as error:
                    self.errors[error.why] += 1
                else:
                    now = trio.current_time()
                    self.acknowledged.append((key, now))
                    self.longest = max(self.longest, now - began)
                await trio.sleep(PAUSE)


async def run_accident(proxy: Address, admin: Address, fleet: Fleet, console: Console) -> int:
    """Kill the first shard's primary under load; return the exit code."""
    code = 0
    try:
        await _accident(proxy, admin, fleet, console)
    except* (AccidentError, AskError, NodeError, NodeFailure) as group:
        console.print(f"[red]FAILED[/]  failover: {escape(_first(group))}", highlight=False, soft_wrap=True)
        code = 1
    return code


def _first(group: BaseExceptionGroup[Exception]) -> str:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)


async def _wait_covered(admin: Address) -> None:
    """Wait until a replica is known to have what the primary has."""
    with trio.move_on_after(PATIENCE):
        while True:
            answer = await trio.to_thread.run_sync(ask, Proxy(str(admin)), "/api/status")
            if answer["clusters"]["demo"]["shards"][0]["is_covered"]:
                return
            await trio.sleep(0.05)
    raise AccidentError(f"no replica is in sync after {PATIENCE:g} s")


async def _accident(proxy: Address, admin: Address, fleet: Fleet, console: Console) -> None:
    shard = fleet.shards[0]
    load = Load(proxy)
    console.print(
        f"\nSIGKILL to {shard.primary.address}, the primary of shard 0, under {WRITERS} writers:",
        highlight=False,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load.run)
        await trio.sleep(WARM_UP)
        await _wait_covered(admin)
        seen = len(await _events(admin))
        died_at, died = datetime.now(UTC), trio.current_time()
        await trio.to_thread.run_sync(shard.primary.kill)
        events = await _wait_failover(admin, seen)
        await trio.sleep(WARM_UP)
        nursery.cancel_scope.cancel()
    started, complete = (
        (events[name] - died_at).total_seconds() for name in ("FailoverStarted", "FailoverComplete")
    )
    first = min((at for _, at in load.acknowledged if at >= died + complete), default=None)
    if first is None:
        raise AccidentError("no write went on")
    lines = (
        ("died", 0.0),
        ("detected", started),
        ("promoted and served", complete),
        ("next write", first - died),
    )
    for what, at in lines:
        console.print(f"  {at * 1000:6.0f} ms  {what}", highlight=False)
    in_doubt = load.errors.pop("in doubt", 0)
    refused = sum(load.errors.values())
    console.print(
        f"  errors seen: {refused}; in doubt, as sent to the dead node without a reply: {in_doubt};"
        f" longest write: {load.longest * 1000:.0f} ms of {len(load.acknowledged)}",
        highlight=False,
    )
    if refused:
        raise AccidentError(f"clients saw errors: {dict(load.errors)}")
    await _verify(proxy, [key for key, _ in load.acknowledged])
    await _rejoin(shard.primary)
    console.print(
        f"[green]ok[/]      all {len(load.acknowledged)} acknowledged writes are there", highlight=False
    )
    console.print(f"[green]ok[/]      {shard.primary.address} came back as a replica", highlight=False)


async def _events(admin: Address) -> list[dict[str, Any]]:
    answer = await trio.to_thread.run_sync(ask, Proxy(str(admin)), "/api/events")
    return list(answer["events"])


async def _wait_failover(admin: Address, seen: int) -> dict[str, datetime]:
    """When the events after those seen were, by name."""
    with trio.move_on_after(PATIENCE):
        while True:
            new = (await _events(admin))[seen:]
            if any(event["name"] == "FailoverComplete" for event in new):
                return {event["name"]: datetime.fromisoformat(event["time"]) for event in new}
            await trio.sleep(0.05)
    raise AccidentError(f"no failover within {PATIENCE:g} s")


async def _verify(proxy: Address, keys: list[bytes]) -> None:
    lost = 0
    async with NodeLink(proxy) as link:
        for start in range(0, len(keys), BATCH):
            replies = await link.request_many([("EXISTS", key) for key in keys[start : start + BATCH]])
            lost += sum(isinstance(reply, Failure) or reply != 1 for reply in replies)
        for start in range(0, len(keys), BATCH):
            await link.request("DEL", *keys[start : start + BATCH])
    if lost:
        raise AccidentError(f"{lost} of {len(keys)} acknowledged writes are lost")


async def _rejoin(node: object) -> None:
    assert isinstance(node, RedisNode)
    node.begin()
    await wait_ready([node])
    with trio.move_on_after(PATIENCE):
        while node.info("replication").get("master_link_status") != "up":  # noqa: ASYNC110  # another process
            await trio.sleep(0.05)
        return
    raise AccidentError(f"{node.address} did not come back as a replica")
