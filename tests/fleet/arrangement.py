"""What is measured: something that serves one shard's data, whichever decides about it.

arrangement        who decides            how applications reach the data
Proxies            our proxies            each proxy in turn
SentinelCluster    three Sentinels        HAProxy, or redis-py's Sentinel client
RedisCluster       the engines            redis-py's cluster client
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from shardproxy.fleet import RedisNode
from tests.failover.load import Ledger, Way

PATIENCE = 90.0  # seconds until a shard must be whole again


class Arrangement(Protocol):
    """One of them. Faults hit its first shard."""

    @property
    def name(self) -> str: ...
    @property
    def tag(self) -> str:
        """A hash tag of keys in that shard."""

    def ways(self) -> Sequence[Way]:
        """How applications reach it."""

    def reader(self) -> Any:
        """A client that reads what is there, on the primary."""

    def primary(self) -> RedisNode:
        """Of the shard, as who decides says."""

    def replicas(self) -> list[RedisNode]: ...
    def wait_whole(self) -> None:
        """Wait until all nodes are up and in sync, and whoever decides knows it."""

    def switch_over(self) -> None:
        """Have a replica take over, as an operator would ask for it; return when it was asked for, or has."""

    def why_wrong(self, ledger: Ledger, found: Mapping[str, list[int]]) -> list[str]:
        """What nothing that decides may do, beside what the data shows."""


def is_in_sync(primary: RedisNode, replicas: Sequence[RedisNode]) -> bool:
    """As they themselves say."""
    try:
        if primary.info("replication")["role"] != "master":
            return False
        # an engine may stream nothing to a replica for a second after its sync, though their link is up
        primary.ask("PUBLISH", "is anybody there?", "")
        said = primary.info("replication")
        offset = int(said["master_repl_offset"])
        if sum("state=online" in value for value in said.values()) < len(replicas):
            return False
        for replica in replicas:
            seen = replica.info("replication")
            if seen.get("master_link_status") != "up" or seen["master_port"] != str(primary.port):
                return False
            if int(seen["slave_repl_offset"]) < offset:
                return False
    except (OSError, EOFError):
        return False
    return True
