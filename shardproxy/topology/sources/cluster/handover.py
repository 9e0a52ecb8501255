"""What an operator has a Redis Cluster do: hand a shard over to a replica. Nothing else is ever asked of it.

CLUSTER FAILOVER         the primary holds writes back until the replica has all of them: nothing is lost
CLUSTER FAILOVER FORCE   without the primary's consent, most of the others have to agree
"""

from __future__ import annotations

from collections.abc import Sequence

from shardproxy.model import Address
from shardproxy.nodes import NodeError, NodeFailure, NodeLinks
from shardproxy.topology.sources.nodes import nodes_ask

TIMEOUT = 2.0  # seconds for a replica to take it on


async def hand_over(links: NodeLinks, replicas: Sequence[Address]) -> str | None:
    """Have the replica that is furthest take over in peace; why that was not done, or None."""
    seen = await nodes_ask(links, replicas)
    fit = {
        node: one.replication.offset
        for node, one in seen.items()
        if one.replication.follows is not None and one.replication.is_link_up
    }
    if not fit:
        return "no replica is in sync with its primary: shardproxy failover --to takes one all the same"
    return await _ask(links, max(fit, key=lambda node: (fit[node], str(node))), "FAILOVER")


async def force(links: NodeLinks, replica: Address) -> str | None:
    """Have that replica take over though its primary does not consent."""
    return await _ask(links, replica, "FAILOVER", "FORCE")


async def _ask(links: NodeLinks, node: Address, *words: str) -> str | None:
    try:
        await links.request(node, "CLUSTER", *words, timeout=TIMEOUT)
    except NodeError as error:
        return f"replica {node} refuses: {error.failure.text}"
    except NodeFailure as error:
        return f"replica {node} cannot be asked: {error.why}"
    return None
