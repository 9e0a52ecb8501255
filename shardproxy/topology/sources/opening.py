"""Which source follows a cluster."""

from __future__ import annotations

from shardproxy.config import RedisCluster
from shardproxy.config.topology import FromSentinel
from shardproxy.topology.sources.sentinel.source import SentinelSource
from shardproxy.topology.sources.source import Source, SourceInputs


def source_open(inputs: SourceInputs) -> Source:
    """The source that the cluster's config asks for."""
    config = inputs.settings.config
    assert isinstance(config, RedisCluster), "no other engine has anything to decide"
    if isinstance(config.decider, FromSentinel):
        return SentinelSource(inputs)
    raise NotImplementedError(f"topology: {{from: {config.decider.source}}} is not supported yet")
