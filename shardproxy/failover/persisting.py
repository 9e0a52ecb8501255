"""Has the nodes of one cluster keep on disk what the config says, for as long as this process leads it.

every LOOK: ask each node ─> persistence.py (pure) ─> CONFIG SET, CONFIG REWRITE ─> alarm, event
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import trio

from shardproxy.failover.chores import Chore, Chores
from shardproxy.failover.event_log import EventLog
from shardproxy.failover.events import AlarmName, EventName
from shardproxy.failover.interfaces import Nodes, SlotDesk
from shardproxy.failover.persistence import (
    READ,
    Disk,
    Keep,
    Process,
    Set,
    alarm_text,
    next_step,
    why_not_kept,
)
from shardproxy.failover.setup import ShardSetup
from shardproxy.model import Address
from shardproxy.model.replication import ShardKey
from shardproxy.nodes import NodeError, NodeFailure
from shardproxy.store.notes import Notes, is_paused
from shardproxy.store.record import ShardRecord
from shardproxy.wire.info import read_fields
from shardproxy.wire.reply import Failure, Reply
from shardproxy.wire.resp import Argument

LOOK = 10.0  # seconds between looks at what nodes have
SOON = 1.0  # seconds, while something is being done
CHORE_WITHIN = 5.0  # seconds until a shard's task, unless it is busy with a failover, does it
TIMEOUT = 2.0  # seconds of one exchange: switching the log on takes a fork
AT_ONCE = 16  # nodes that are asked

NO_FILE = "without a config file"
WITHOUT_FILE = (
    "has no config file: it would restart without these settings; give them where it is started, and then"
    " restart it"
)


@dataclass(frozen=True, slots=True)
class PersistenceTools:
    """What the service needs of its process."""

    nodes: Nodes
    notes: Notes
    events: EventLog
    chores: Chores


@dataclass(slots=True)
class _Shard:
    """What is remembered of a shard while this process leads."""

    was_set: frozenset[Process] = frozenset()
    refused: dict[Set | Keep, str] = field(default_factory=dict)
    alarm: str | None = None


async def run_persistence(desk: SlotDesk, tools: PersistenceTools) -> None:
    """Watch the shards that say what is to be on disk, until cancelled."""
    shards: dict[ShardKey, _Shard] = {}
    limiter = trio.CapacityLimiter(AT_ONCE)
    while True:
        busy: set[ShardKey] = set()
        wanted = {key: setup for key, setup in desk.setups.items() if setup.persistence}
        for key in [key for key in shards if key not in wanted]:
            _tell(tools.events, key, shards.pop(key), None)

        async def tend(key: ShardKey, setup: ShardSetup, busy: set[ShardKey] = busy) -> None:
            record = desk.records.get(key)
            if record is None:
                return
            may_act = not is_paused(tools.notes, key.cluster)
            if await _tend(setup, record, shards.setdefault(key, _Shard()), tools, limiter, may_act=may_act):
                busy.add(key)

        async with trio.open_nursery() as nursery:
            for key, setup in wanted.items():
                nursery.start_soon(tend, key, setup)
        await trio.sleep(SOON if busy else LOOK)


async def _tend(
    setup: ShardSetup,
    record: ShardRecord,
    shard: _Shard,
    tools: PersistenceTools,
    limiter: trio.CapacityLimiter,
    *,
    may_act: bool,
) -> bool:
    """Look at one shard, and do the next step; whether there is more to do soon."""
    disks: dict[Address, Disk] = {}
    silent: list[str] = []

    async def look(node: Address) -> None:
        async with limiter:
            try:
                disks[node] = _disk(await _ask(tools.nodes, node, LOOKS))
            except _RefusedError as error:
                silent.append(f"{node}: {error}")
            except (NodeFailure, NodeError):
                return  # its health says why

    async with trio.open_nursery() as nursery:
        for node in setup.addresses:
            nursery.start_soon(look, node)
    alive = {(node, disk.run_id) for node, disk in disks.items()}
    shard.was_set = frozenset(one for one in shard.was_set if one in alive or one[0] not in disks)
    shard.refused = {s: why for s, why in shard.refused.items() if (s.node, s.run_id) in alive}
    step = next_step(setup, record, disks, shard.was_set, shard.refused) if may_act else None
    if step is not None:
        await _do(step, setup, shard, tools)
    refusals = {step.node: why for step, why in shard.refused.items()}
    texts = [alarm_text(setup, record, disks, refusals), why_not_kept(setup, record, shard.was_set), *silent]
    _tell(tools.events, setup.key, shard, "; ".join(filter(None, texts)) or None)
    return step is not None or any(disk.is_rewriting for disk in disks.values())


async def _do(step: Set | Keep, setup: ShardSetup, shard: _Shard, tools: PersistenceTools) -> None:
    process = (step.node, step.run_id)
    try:
        if isinstance(step, Set):
            sets: list[tuple[Argument, ...]] = [("CONFIG", "SET", *pair) for pair in step.settings]
            await _ask(tools.nodes, step.node, sets, run_id=step.run_id)
            shard.was_set |= {process}
            said = ", ".join(f"{name} {value or '(empty)'}" for name, value in step.settings)
            tools.events.add(EventName.PERSISTENCE_SET, setup.key, f"{step.node} was given {said}")
            return
        if await _keep(step, setup.key, tools):
            shard.was_set -= {process}
    except _RefusedError as error:
        shard.refused[step] = WITHOUT_FILE if NO_FILE in str(error) else str(error)
    except (NodeFailure, NodeError):
        return  # at the next look


async def _keep(step: Keep, key: ShardKey, tools: PersistenceTools) -> bool:
    """Whether the node's file says so now; raise _RefusedError, NodeFailure or NodeError."""
    if step.follow is None:
        await _ask(tools.nodes, step.node, [("CONFIG", "REWRITE")], run_id=step.run_id)
        return True
    chore = Chore(step.node, step.run_id, step.follow)
    if (why := await tools.chores.ask(key, chore, within=CHORE_WITHIN)) is not None:
        raise _RefusedError(why)
    return chore.is_done


LOOKS: tuple[tuple[Argument, ...], ...] = (
    ("INFO", "server"),
    ("INFO", "persistence"),
    *(("CONFIG", "GET", name) for name in READ),
)


class _RefusedError(Exception):
    """The node said no."""


async def _ask(
    nodes: Nodes, node: Address, requests: Sequence[Sequence[Argument]], *, run_id: str | None = None
) -> list[Reply]:
    replies = await nodes.request_many(node, requests, timeout=TIMEOUT, run_id=run_id)
    for request, reply in zip(requests, replies, strict=True):
        for one in reply if isinstance(reply, list) else (reply,):
            if isinstance(one, Failure):
                raise _RefusedError(f"{' '.join(map(str, request[:3]))}: {one.text}")
    return replies


def _disk(replies: Sequence[Reply]) -> Disk:
    server, persistence, *settings = replies
    found: dict[str, str] = {}
    for pairs in settings:
        if isinstance(pairs, list):
            texts = [bytes(text).decode() for text in pairs if isinstance(text, bytes)]
            found.update(zip(texts[::2], texts[1::2], strict=False))
    return Disk(read_fields(server).get("run_id", ""), found, read_fields(persistence))


def _tell(events: EventLog, key: ShardKey, shard: _Shard, alarm: str | None) -> None:
    """Say a change once."""
    if alarm is not None and alarm != shard.alarm:
        events.add(EventName.ALARM, key, alarm, about=AlarmName.PERSISTENCE)
    elif alarm is None and shard.alarm is not None:
        events.add(EventName.ALARM_CLEARED, key, f"no longer: {shard.alarm}", about=AlarmName.PERSISTENCE)
    shard.alarm = alarm
