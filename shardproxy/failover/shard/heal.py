"""Does what a settled shard still lacks."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable

import trio

from shardproxy.failover.events import EventName
from shardproxy.failover.healing import Action, Configure, Follow, Joined, Persist
from shardproxy.failover.shard.tended import REDO, Tended
from shardproxy.failover.steps import StepError
from shardproxy.store.notes import is_paused


async def heal(shard: Tended, actions: Iterable[Action]) -> float:
    """Do them one by one; one that fails does not keep the others from being done."""
    now = trio.current_time()
    shard.told = {told: at for told, at in shard.told.items() if now - at < REDO}
    troubles = []
    for action in actions:
        if action in shard.told:
            continue  # it shows in its health a little later
        if not isinstance(action, Joined) and is_paused(shard.shared.store.notes, shard.key.cluster):
            continue  # since it was decided
        try:
            await _act(shard, action)
        except StepError as error:
            troubles.append(str(error))
    shard.set_alarm("; ".join(troubles) or None)
    return now + REDO


async def _once(shard: Tended, action: Configure | Persist, step: Awaitable[None]) -> None:
    """Do it, and not again; nor where the node refuses it."""
    try:
        await step
    except StepError as error:
        if error.is_refused:
            shard.done |= {action}
        raise
    shard.done |= {action}


async def _act(shard: Tended, action: Action) -> None:
    steps = shard.shared.steps
    match action:
        case Configure(node):
            await _once(shard, action, steps.configure(node, shard.setup.min_replicas))
        case Persist(node):
            await _once(shard, action, steps.persist(node))
        case Joined(node, run_id):
            record = shard.record
            await shard.put(record.with_process(node, run_id))
            if node not in record.joined:
                shard.say(EventName.NODE_ADDED, f"{node} is in sync with the primary")
        case Follow(node, primary, was_primary):
            await steps.follow(node, primary, shard.record, cut_clients=was_primary)
            shard.told[action] = trio.current_time()
            shard.say(EventName.NODE_RECOVERED, f"{node} was told to follow {primary}")
