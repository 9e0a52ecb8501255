"""`shardproxy pause`: hands off a cluster's nodes for a while."""

from __future__ import annotations

from shardproxy.cli.ask import HERE, Output, Proxy, act


def pause(cluster: str, /, *, output: Output = "table", proxy: Proxy = HERE) -> int:
    """Have nothing done to a cluster's nodes by itself until `shardproxy resume`.

    No primary is replaced, no replica pointed at another primary, nothing configured. A failover under way is
    finished, and what you ask for (switchover, failover) is still done. A restart of the proxy does not end
    the pause: it is in the state file. Exit code 1 when it was not done.

    Parameters
    ----------
    cluster
        The cluster's name.
    """
    done = f"{cluster} is paused: nothing is done to its nodes unless asked for"
    return act(proxy, "/api/pause", {"cluster": cluster}, output, done)
