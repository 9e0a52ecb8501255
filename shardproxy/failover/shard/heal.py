"""Does what a settled shard still lacks."""

from __future__ import annotations

from collections.abc import Iterable

import trio

from shardproxy.failover.events import EventName
from shardproxy.failover.healing import Action, Configure, Follow, Joined, Persist
from shardproxy.failover.shard.tended import REDO, Tended
from shardproxy.failover.steps import StepError


async def heal(shard: Tended, actions: Iterable[Action]) -> float:
    """Do them one by one; one that fails does not keep the others from being done."""
    now = trio.current_time()
    shard.told = {told: at for told, at in shard.told.items() if now - at < REDO}
    troubles = []
    for action in actions:
        if action in shard.told:
            continue  # it shows in its health a little later
        try:
            await _act(shard, action)
        except StepError as error:
            troubles.append(str(error))
    shard.set_alarm("; ".join(troubles) or None)
    return now + REDO


async def _act(shard: Tended, action: Action) -> None:
    steps = shard.shared.steps
    match action:
        case Configure(node):
            shard.done |= {action}
            await steps.configure(node, shard.setup.min_replicas)
        case Persist(node):
            shard.done |= {action}
            await steps.persist(node)
        case Joined(node, run_id):
            record = shard.record
            await shard.put(record.with_process(node, run_id))
            if node not in record.joined:
                shard.say(EventName.NODE_ADDED, f"{node} is in sync with the primary")
        case Follow(node, primary, was_primary):
            await steps.follow(node, primary, shard.record, cut_clients=was_primary)
            shard.told[action] = trio.current_time()
            shard.say(EventName.NODE_RECOVERED, f"{node} was told to follow {primary}")
