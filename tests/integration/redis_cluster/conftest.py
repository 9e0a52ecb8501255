"""One Redis Cluster and one proxy that follows it, for many tests: each leaves it whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis

from tests.failover.load import connect
from tests.fixtures.proxy import Proxy
from tests.fixtures.redis_cluster import RedisCluster


@dataclass(frozen=True, slots=True)
class ClusterSite:
    """One cluster, `main`."""

    cluster: RedisCluster
    proxy: Proxy

    @property
    def client(self) -> redis.Redis:
        return connect(self.proxy.address())


@pytest.fixture(scope="module")
def site(redis_cluster: RedisCluster) -> Iterator[ClusterSite]:
    config: dict[str, Any] = redis_cluster.config(timeouts={"park": "10s"})
    proxy = Proxy(config)
    try:
        yield ClusterSite(redis_cluster, proxy)
    finally:
        proxy.stop()
