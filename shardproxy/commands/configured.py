"""What handlers go by of a cluster's config, as it is now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from shardproxy.commands.call import Settings
from shardproxy.config import RedisCluster
from shardproxy.config.clusters import DATABASES
from shardproxy.model import EndpointKind
from shardproxy.topology.fleet import Peers
from shardproxy.topology.project import Configured


def settings_now(
    clusters: Mapping[str, Configured], peers_of: Callable[[str], Peers], cluster: str
) -> Settings:
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
        peers=partial(peers_of, cluster),
        tls_ports=_tls_ports(config),
    )


def _tls_ports(config: RedisCluster) -> frozenset[int]:
    return frozenset(
        address.port
        for kind, endpoint, speaks_tls in config.listened
        if speaks_tls and kind is EndpointKind.CONFIGURATION
        for address in endpoint.addresses
    )
