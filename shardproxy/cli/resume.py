"""`shardproxy resume`: automatic failover again."""

from __future__ import annotations

from shardproxy.cli.ask import DEFAULT_ADMIN, Admin, Output, act


def resume(cluster: str, /, *, output: Output = "table", admin: Admin = DEFAULT_ADMIN) -> int:
    """End what `shardproxy pause` began.

    Exit code 1 when it was not done.

    Parameters
    ----------
    cluster
        The cluster's name.
    """
    done = f"automatic failover of {cluster} is on"
    return act(admin, "/api/resume", {"cluster": cluster}, output, done)
