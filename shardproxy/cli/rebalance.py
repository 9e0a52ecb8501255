"""`shardproxy rebalance`: shards that weigh alike."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from shardproxy.cli.ask import HERE, Output, Proxy
from shardproxy.cli.scale import Rate, SlotsPerStep
from shardproxy.cli.waiting import Detach, PlanOnly, submit


def rebalance(
    cluster: str,
    /,
    *,
    by: Annotated[Literal["keys", "memory", "load"], Parameter()] = "keys",
    slots_per_step: SlotsPerStep = 0,
    rate: Rate = 0,
    plan: PlanOnly = False,
    detach: Detach = False,
    output: Output = "table",
    proxy: Proxy = HERE,
) -> int:
    """Move slots so that the shards which have some weigh alike, while they are served.

    What slots weigh is judged by a sample of keys; by load, by the CPU time of the primaries over a second.

    Parameters
    ----------
    cluster
        The cluster's name.
    by
        How many keys, how much memory, or how much work.
    """
    wants = {"do": "rebalance", "by": by, "slots_per_step": slots_per_step, "rate": rate}
    return submit(proxy, cluster, "reshard", wants, detach=detach, plan=plan, output=output)
