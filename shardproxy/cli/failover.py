"""`shardproxy failover`: try it, or force it."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from shardproxy.cli.ask import HERE, Output, Proxy, act


def failover(
    cluster: str,
    shard: str,
    /,
    *,
    test: Annotated[bool, Parameter(negative="")] = False,
    to: str | None = None,
    acknowledge: Annotated[bool, Parameter(negative="")] = False,
    output: Output = "table",
    proxy: Proxy = HERE,
) -> int:
    """Try a shard's failover, force one, or let the next one not wait.

    Exit code 1 says why it was not done, or, 30 s later at the latest, how far it came.

    Parameters
    ----------
    cluster
        The cluster's name.
    shard
        The shard's name or number.
    test
        Replace the primary by its best replica, as ElastiCache's TestFailover; nothing is lost.
    to
        Make this node the primary whatever its data: what it does not have is lost.
    acknowledge
        The cause of the last failover is known: the next one need not wait.
    """
    body: dict[str, object] = {"cluster": cluster, "shard": shard}
    if [test, to is not None, acknowledge].count(True) != 1:
        print("shardproxy: give one of --test, --to NODE and --acknowledge", file=sys.stderr)
        return 1
    if acknowledge:
        return act(proxy, "/api/acknowledge", body, output, "the next failover need not wait")
    done = f"shard {shard} of {cluster} has another primary"
    if test:
        return act(proxy, "/api/failover-test", body, output, done)
    return act(proxy, "/api/promote", {**body, "to": to}, output, done)
