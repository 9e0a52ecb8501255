"""What the config has a node do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shardproxy.config import RedisCluster
from shardproxy.doctor.rights import Need


@dataclass(frozen=True, slots=True)
class Terms:
    """A node's cluster, and what the proxy is to it."""

    name: str
    cluster: RedisCluster
    needs: Sequence[Need]
    connections: int  # that one proxy may open to it
    replicas: int  # of its shard, by the config
