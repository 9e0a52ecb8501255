"""`shardproxy drain`: a shard without slots."""

from __future__ import annotations

from shardproxy.cli.ask import HERE, Output, Proxy
from shardproxy.cli.scale import Rate, SlotsPerStep
from shardproxy.cli.waiting import Detach, PlanOnly, submit


def drain(
    cluster: str,
    shard: str,
    /,
    *,
    slots_per_step: SlotsPerStep = 0,
    rate: Rate = 0,
    plan: PlanOnly = False,
    detach: Detach = False,
    output: Output = "table",
    proxy: Proxy = HERE,
) -> int:
    """Move all slots of a shard to the others, while it is served; it may leave the config then.

    Parameters
    ----------
    cluster
        The cluster's name.
    shard
        The shard's name or number.
    """
    wants = {"do": "drain", "shard": shard, "slots_per_step": slots_per_step, "rate": rate}
    return submit(proxy, cluster, "reshard", wants, detach=detach, plan=plan, output=output)
