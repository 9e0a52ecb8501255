"""A switchover that an operator asks for: Sentinel does it, once no replica lacks anything.

park ─> all replicas have what the primary has ─> SENTINEL FAILOVER ─> most Sentinels name another

Only what goes through this process waits: where other proxies serve the cluster too, nothing is done.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import trio

from shardproxy.failover.events import EventName
from shardproxy.model import Address
from shardproxy.nodes import NodeError, NodeFailure
from shardproxy.topology.sources.nodes import nodes_ask
from shardproxy.topology.sources.sentinel.asker import SentinelAsker
from shardproxy.topology.sources.sentinel.shard import FollowedShard
from shardproxy.topology.sources.source import SourceInputs

LEVEL_WITHIN = 1.0  # seconds for replicas to have all that their primary has
GAP = 0.05  # seconds between looks at them
NAMED_WITHIN = 8.0  # seconds; Sentinel takes two
MAX_NAMED = 5  # proxies, in a refusal
ASK_TIMEOUT = 2.0  # seconds for a Sentinel to take it on

WHY_NO_TARGET = (
    "Sentinel chooses whom it promotes: leave out --to, and give the replica you mean the lowest"
    " replica-priority above 0"
)
WHY_NOT = {
    "promote": "Sentinel decides who is primary: shardproxy switchover has it choose another one",
    "pause": (
        "Sentinel fails over, not the proxy: to keep it from that, raise its"
        " down-after-milliseconds for the time (SENTINEL SET <name> down-after-milliseconds 3600000), on each"
    ),
    "resume": "Sentinel fails over, not the proxy: there is nothing to resume here",
    "acknowledge": "Sentinel decides when to fail over again (failover-timeout): nothing waits here",
}


async def hand_over(
    shard: FollowedShard, inputs: SourceInputs, askers: Sequence[SentinelAsker]
) -> str | None:
    """Have a shard's primary replaced; return why it was not, or None. What was in flight may be in doubt."""
    if shard.served is None:
        return "its primary is not known yet"
    if shard.served.is_parked or trio.current_time() < shard.handing_until:
        return "a failover is under way"
    if (why := _why_shared(shard, inputs)) is not None:
        return why
    before, replicas = shard.served.primary, shard.served.replicas
    shard.handing_until = trio.current_time() + LEVEL_WITHIN + ASK_TIMEOUT + NAMED_WITHIN
    try:
        shard.park("a switchover was asked for")
        why = (
            await _wait_level(inputs, before, replicas)
            or _why_shared(shard, inputs)  # who has joined since then
            or await _have_failed_over(shard.name, askers)
        )
        if why is not None:
            inputs.events.add(EventName.SWITCHOVER_FAILED, shard.setup.key, why)
            return why
        with trio.move_on_after(NAMED_WITHIN):
            while shard.served.primary == before or shard.served.is_parked:
                await inputs.showing.wait_shown(shard.setup.key)
            return None
        return f"Sentinel took it on, but has named no other primary within {NAMED_WITHIN:g} s"
    finally:
        shard.handing_until = -math.inf
        shard.look_closely()  # whoever is named then is served


def _why_shared(shard: FollowedShard, inputs: SourceInputs) -> str | None:
    """Why clients' writes go on whatever this process holds back: others take them, too."""
    if not (others := inputs.others()):
        return None
    names = ", ".join(other.label or other.name for other in others[:MAX_NAMED])
    more = f" and {len(others) - MAX_NAMED} more" if len(others) > MAX_NAMED else ""
    return (
        f"other proxies write to it, too, and would not wait: {names}{more}. Stop them first, or have"
        f" Sentinel do it (SENTINEL FAILOVER {shard.name}), which may lose the last writes"
    )


async def _wait_level(inputs: SourceInputs, primary: Address, replicas: Sequence[Address]) -> str | None:
    """Wait until all replicas have what the primary has, now that nothing is sent to it; or why not."""
    if not replicas:
        return "it has no replica that follows it and that the Sentinels find well"
    with trio.move_on_after(LEVEL_WITHIN):
        before: int | None = None
        while True:
            await trio.sleep(GAP)  # what was sent before is carried out by then
            seen = await nodes_ask(inputs.nodes, (primary, *replicas))
            if len(seen) <= len(replicas):
                continue  # one does not answer: it may be the one that Sentinel chooses
            offset = seen[primary].replication.offset
            if before == offset and all(seen[node].replication.offset >= offset for node in replicas):
                return None
            before = offset
    return f"not all replicas had all of {primary}'s writes within {LEVEL_WITHIN:g} s: nothing was done"


async def _have_failed_over(name: str, askers: Sequence[SentinelAsker]) -> str | None:
    """Tell the first Sentinel that can be reached; why it did not take it on."""
    whys = []
    for asker in askers:
        try:
            await asker.request("SENTINEL", "FAILOVER", name, timeout=ASK_TIMEOUT)
        except NodeError as error:
            whys.append(f"Sentinel {asker.address} refuses: {error.failure.text}")
        except NodeFailure as error:
            if error.is_sent:
                return f"Sentinel {asker.address} may have begun: {error.why} (see shardproxy status)"
            whys.append(str(error))
        else:
            return None
    return "; ".join(whys)
