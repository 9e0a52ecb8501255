"""Whether Sentinels know what a config calls primaries, asked once: for `shardproxy check --nodes`."""

from __future__ import annotations

from collections.abc import Mapping

import trio

from shardproxy.config import RedisCluster
from shardproxy.config.topology import FromSentinel
from shardproxy.dataplane.spec import ClusterSettings
from shardproxy.topology.sources.sentinel.asker import SentinelAsker
from shardproxy.topology.sources.sentinel.login import decider_access


async def why_not_known(clusters: Mapping[str, ClusterSettings]) -> str | None:
    """Say which Sentinels answer and do not know a name, or refuse us; one that is away is no mistake."""
    said: list[str] = []

    async def ask(name: str, asker: SentinelAsker) -> None:
        if (why := await asker.ask_once()) is not None:
            said.append(f"cluster {name}: Sentinel {asker.address} {why}")

    async with trio.open_nursery() as nursery:
        for name, settings in clusters.items():
            config = settings.config
            if isinstance(config, RedisCluster) and isinstance(config.decider, FromSentinel):
                login, tls = decider_access(settings)
                for address in config.decider.sentinels:
                    asker = SentinelAsker(address, tuple(config.decider.names.values()), login=login, tls=tls)
                    nursery.start_soon(ask, name, asker)
    return "; ".join(sorted(said)) or None
