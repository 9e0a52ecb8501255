"""Whether nodes that nothing is known of can be served: those of a Redis Cluster cannot. Asks engines."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial

import trio

from shardproxy.dataplane.spec import ClusterSettings
from shardproxy.model import Address
from shardproxy.nodes import LinkTimeouts, NodeError, NodeFailure, NodeLink
from shardproxy.nodes.link import DEFAULT_TIMEOUTS
from shardproxy.topology.assign import Records
from shardproxy.topology.logins import credentials_of, tls_of
from shardproxy.topology.project import foreign_text, shard_setups
from shardproxy.topology.reload import Clusters
from shardproxy.wire.info import InfoError, read_fields, read_server

ASK_TIMEOUT = 0.3  # seconds; all nodes are asked at once, and who does not answer is looked at when it does
AT_ONCE = 64  # connections


async def why_not_fit(wanted: Clusters, records: Records) -> str | None:
    """Say which new nodes run in cluster mode; those of shards on record are watched, or will be."""
    asked = {
        name: [node for s in setups if s.key not in records for node in s.addresses]
        for name, settings in wanted.items()
        for setups in [shard_setups(name, settings, records)]
    }
    new = {name: (wanted[name], nodes) for name, nodes in asked.items() if nodes}
    return await why_foreign(new, within=ASK_TIMEOUT)


async def why_foreign(
    asked: dict[str, tuple[ClusterSettings, list[Address]]],
    timeouts: LinkTimeouts = DEFAULT_TIMEOUTS,
    *,
    within: float = math.inf,
) -> str | None:
    """Say which of these nodes, by cluster, run in cluster mode, and what to do; None if none says so.

    Each has its link's timeouts, and all together have `within` seconds.
    """
    found: dict[str, list[Address]] = {name: [] for name in asked}
    limiter = trio.CapacityLimiter(AT_ONCE)

    async def ask(name: str, settings: ClusterSettings, node: Address) -> None:
        async with limiter:
            login, tls = partial(credentials_of, settings), partial(tls_of, settings)
            if await is_clustered(NodeLink(node, credentials=login, tls=tls, timeouts=timeouts)):
                found[name].append(node)

    with trio.move_on_after(within):
        async with trio.open_nursery() as nursery:
            for name, (settings, nodes) in asked.items():
                for node in nodes:
                    nursery.start_soon(ask, name, settings, node)
    return foreign_said(found)


def foreign_said(found: dict[str, list[Address]]) -> str | None:
    """Say what is found of each cluster."""
    said = [f"cluster {name}: {foreign_text(*sorted(nodes))}" for name, nodes in found.items() if nodes]
    return "; ".join(said) or None


async def is_clustered(link: NodeLink) -> bool:
    """Whether a node says that it is one of a Redis Cluster."""
    try:
        async with link:
            return read_server(read_fields(await link.request("INFO", "server"))).is_clustered
    except (NodeFailure, NodeError, InfoError):
        return False


def addresses_of(settings: ClusterSettings, name: str) -> Iterable[Address]:
    """Every node that a cluster is configured with, once; none of an engine that has no such mode."""
    return dict.fromkeys(node for setup in shard_setups(name, settings, {}) for node in setup.addresses)
