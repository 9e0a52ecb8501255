"""Takes the primary that is there, or makes the first one."""

from __future__ import annotations

from dataclasses import replace

import trio

from shardproxy.failover import quorum
from shardproxy.failover.adoption import Adopt, Adoption, Build, Conflict, NotYet
from shardproxy.failover.events import EventName
from shardproxy.failover.machine import Kind, Run, Step
from shardproxy.failover.shard.change import hold, walk
from shardproxy.failover.shard.tended import REDO, Tended
from shardproxy.model import Address
from shardproxy.store.record import Promise, ShardRecord, ShardState


async def register(shard: Tended, found: Adoption, *, must_have_data: bool = False) -> float | None:
    """Act on who was found; return when to look again, at the latest."""
    match found:
        case Adopt():
            return await _adopt(shard, found, must_have_data=must_have_data)
        case Build(candidates, why):
            await _build(shard, candidates, why)
            return trio.current_time()
        case Conflict(why):
            await _set_conflict(shard, why)
            return None
        case NotYet(why):
            patience = shard.began_at + shard.shared.settings.adopt_after
            if trio.current_time() < patience:
                return patience
            shard.set_alarm(why)
            return None


async def _adopt(shard: Tended, found: Adopt, *, must_have_data: bool) -> float:
    setup, primary = shard.setup, found.primary
    seen = await shard.shared.steps.inspect(primary)
    if must_have_data and not await shard.shared.steps.count_keys(primary):
        shard.set_alarm(
            f"{primary} is a primary without data: not served until an operator says so ({shard.advice})"
        )
        return trio.current_time() + REDO
    if shard.setup != setup:
        return trio.current_time()  # it was found among nodes that the config has no more
    before = shard.record
    others = before.joined if before.lineage is not None and not must_have_data else ()
    promise = Promise(frozenset(found.joined) - {primary}, setup.wait)
    record = quorum.begun_among(before.fenced(), dict.fromkeys((*setup.addresses, primary)), promise)
    joined = tuple(node for node in dict.fromkeys((*found.joined, *others)) if node in record.nodes)
    record = replace(record, joined=joined, name=setup.name)
    for node, health in shard.healths().items():
        if node in found.joined and node != primary and health.server is not None:
            record = record.with_process(node, health.server.run_id)
    await shard.put(record.settled(primary, seen.lineage, seen.run_id))
    shard.say(EventName.PRIMARY_ADOPTED, found.why)
    return trio.current_time()


async def _set_conflict(shard: Tended, why: str) -> None:
    shard.set_alarm(f"{why}: not served until an operator promotes one ({shard.advice})")
    if shard.record.state is not ShardState.CONFLICT:
        record = shard.record.fenced(ShardState.CONFLICT)
        await shard.put(quorum.begun_among(record, shard.setup.addresses, Promise(wait=shard.setup.wait)))


async def _build(shard: Tended, candidates: tuple[Address, ...], why: str) -> None:
    """Make the first primary: the node that has data, or the first of the config when none has."""
    setup = shard.setup
    async with shard.shared.limits.at_start:
        keys = {node: await shard.shared.steps.count_keys(node) for node in candidates}
    if shard.setup != setup:
        return  # they were found among nodes that the config has no more
    histories = {
        health.replication.lineage.replid
        for node, health in shard.healths().items()
        if health.replication is not None and keys.get(node)
    }
    if len(histories) > 1:
        holders = ", ".join(f"{node} ({count} keys)" for node, count in keys.items() if count)
        await _set_conflict(shard, f"several nodes hold data of their own: {holders}")
        return
    with_data = [node for node in candidates if keys[node]]
    order = [node for node in setup.addresses if node in keys]
    target = (with_data or order)[0]
    joined = tuple(node for node in candidates if node == target or not keys[node] or histories)
    # a confirmation proves that a replica has it all; without, nobody is to be promoted before it is in sync
    voters = frozenset(joined) - {target} if setup.wait else frozenset[Address]()
    record = replace(
        shard.record,
        nodes=setup.addresses,
        joined=joined,
        name=setup.name,
        promise=Promise(voters, setup.wait),
    )
    run = await walk(shard, Run(Kind.FAILOVER, record, why, trio.current_time(), trusted=target))
    if run.step is not Step.DONE:
        shard.rest(shard.shared.settings.retry_interval)


async def accept(shard: Tended, why: str, *, must_have_data: bool) -> float:
    """Take a primary that restarted as it is, unless it is empty and others may have its data."""
    record = shard.record
    if record.primary is None:
        return trio.current_time()
    seen = await shard.shared.steps.inspect(record.primary)
    if must_have_data and not await shard.shared.steps.count_keys(record.primary):
        may_touch = shard.situation().may_protect
        return await hold(shard, f"{why}, empty, while others may have its data", None, may_touch=may_touch)
    await shard.put(_accepted(record, record.primary).settled(record.primary, seen.lineage, seen.run_id))
    shard.say(EventName.NODES_REBOOTED, f"{why}; it stays the primary")
    return trio.current_time()


def _accepted(record: ShardRecord, primary: Address) -> ShardRecord:
    return replace(record.fenced(), last=primary)
