"""`shardproxy pause`: no automatic failover for a while."""

from __future__ import annotations

from shardproxy.cli.ask import DEFAULT_ADMIN, Admin, Output, act


def pause(cluster: str, /, *, output: Output = "table", admin: Admin = DEFAULT_ADMIN) -> int:
    """Have a cluster's primaries not replaced by themselves until `shardproxy resume`.

    A failover under way is finished, and a switchover still works. A restart of the proxy does not end the
    pause: it is in the state file. Exit code 1 when it was not done.

    Parameters
    ----------
    cluster
        The cluster's name.
    """
    done = f"automatic failover of {cluster} is paused"
    return act(admin, "/api/pause", {"cluster": cluster}, output, done)
