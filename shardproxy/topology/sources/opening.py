"""Which source follows a cluster."""

from __future__ import annotations

from shardproxy.config import RedisCluster
from shardproxy.config.topology import FromRedisCluster, FromSentinel
from shardproxy.topology.sources.source import Source, SourceInputs


def source_open(inputs: SourceInputs) -> Source:
    """The source that the cluster's config asks for; only that one is loaded."""
    config = inputs.settings.config
    assert isinstance(config, RedisCluster), "no other engine has anything to decide"
    if isinstance(config.decider, FromSentinel):
        from shardproxy.topology.sources.sentinel.source import SentinelSource

        return SentinelSource(inputs)
    assert isinstance(config.decider, FromRedisCluster), "else nobody but us decides"
    from shardproxy.topology.sources.cluster.source import RedisClusterSource

    return RedisClusterSource(inputs)
