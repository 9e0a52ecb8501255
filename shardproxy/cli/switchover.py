"""`shardproxy switchover`: another primary, without losing anything."""

from __future__ import annotations

from shardproxy.cli.ask import HERE, Output, Proxy, act


def switchover(
    cluster: str,
    shard: str,
    /,
    *,
    to: str | None = None,
    output: Output = "table",
    proxy: Proxy = HERE,
) -> int:
    """Hand a shard over to a replica: no client sees an error, no write is lost.

    Exit code 1 says why it was not done, or, 30 s later at the latest, how far it came.

    Parameters
    ----------
    cluster
        The cluster's name.
    shard
        The shard's name or number.
    to
        Address of the replica. Default: the one with most of the data.
    """
    body = {"cluster": cluster, "shard": shard, "to": to}
    return act(proxy, "/api/switchover", body, output, f"shard {shard} of {cluster} has another primary")
