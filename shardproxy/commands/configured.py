"""What handlers go by of a cluster's config, as it is now."""

from __future__ import annotations

from collections.abc import Mapping

from shardproxy.commands.call import Settings
from shardproxy.config import RedisCluster
from shardproxy.config.clusters import DATABASES
from shardproxy.topology.project import Configured


def settings_now(clusters: Mapping[str, Configured], cluster: str) -> Settings:
    """The defaults for a cluster that is not served any more."""
    configured = clusters.get(cluster)
    if configured is None or not isinstance(configured.settings.config, RedisCluster):
        return Settings()
    config = configured.settings.config
    writable = config.endpoints.primary or config.endpoints.configuration
    primary = writable.addresses[0] if writable else None
    return Settings(
        config.endpoints.configuration,
        primary,
        config.commands,
        config.limits.clients,
        config.timeouts.park,
        config.failover.busy_limit,
        is_strict=config.is_strict,
        databases=config.databases or DATABASES,
    )
