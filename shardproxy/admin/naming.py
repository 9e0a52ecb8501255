"""What operators call a shard: by its name, or by its number. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from shardproxy.failover.setup import ShardSetup
from shardproxy.model.replication import ShardKey


def shard_called(given: object, setups: Iterable[ShardSetup]) -> ShardKey | None:
    """Find a cluster's shard by its name or number, which may be text: no name is digits alone."""
    if isinstance(given, bool) or not isinstance(given, str | int):
        return None
    return next((s.key for s in setups if str(given) in (s.name, str(s.key.index))), None)


def why_no_shard(cluster: str, given: object, setups: Iterable[ShardSetup]) -> str:
    """Say which shards there are."""
    known = ", ".join(
        f"{setup.name} ({setup.key.index})" if setup.name else str(setup.key.index)
        for setup in sorted(setups, key=lambda setup: setup.key)
    )
    return f"cluster {cluster} has no shard {given}; it has: {known}"
