"""Whether seeds are nodes of a Redis Cluster, asked once: for `shardproxy check --nodes`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import trio

from shardproxy.config import RedisCluster
from shardproxy.config.topology import FromRedisCluster
from shardproxy.dataplane.spec import ClusterSettings
from shardproxy.model import Address
from shardproxy.nodes import LinkTimeouts, NodeError, NodeFailure, NodeLink
from shardproxy.topology.logins import credentials_of, tls_of
from shardproxy.wire.reply import Failure

TIMEOUTS = LinkTimeouts(connect=0.5, reply=1.0)


async def why_no_seed(clusters: Mapping[str, ClusterSettings]) -> str | None:
    """Say which seeds answer and are no nodes of a Redis Cluster; one that is away is no mistake."""
    said: list[str] = []

    async def ask(name: str, settings: ClusterSettings, seed: Address) -> None:
        login, tls = partial(credentials_of, settings), partial(tls_of, settings)
        try:
            async with NodeLink(seed, credentials=login, tls=tls, timeouts=TIMEOUTS) as link:
                reply = await link.request("CLUSTER", "MYID")
        except NodeFailure:
            return
        except NodeError as error:
            reply = error.failure
        if isinstance(reply, Failure):
            said.append(f"cluster {name}: seed {seed} is no node of a Redis Cluster: {reply.text}")

    async with trio.open_nursery() as nursery:
        for name, settings in clusters.items():
            config = settings.config
            if isinstance(config, RedisCluster) and isinstance(config.decider, FromRedisCluster):
                for seed in config.decider.seeds:
                    nursery.start_soon(ask, name, settings, seed)
    return "; ".join(sorted(said)) or None
