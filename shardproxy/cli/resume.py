"""`shardproxy resume`: what a cluster's nodes need is done again."""

from __future__ import annotations

from shardproxy.cli.ask import HERE, Output, Proxy, act


def resume(cluster: str, /, *, output: Output = "table", proxy: Proxy = HERE) -> int:
    """End what `shardproxy pause` began: primaries are replaced, and replicas brought back, by themselves.

    Exit code 1 when it was not done.

    Parameters
    ----------
    cluster
        The cluster's name.
    """
    done = f"{cluster} is not paused any more"
    return act(proxy, "/api/resume", {"cluster": cluster}, output, done)
