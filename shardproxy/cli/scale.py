"""`shardproxy scale`: another number of shards."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from shardproxy.cli.ask import HERE, Output, Proxy
from shardproxy.cli.waiting import Detach, PlanOnly, submit

SlotsPerStep = Annotated[
    int, Parameter(help="Move so many slots at once, each with a pause of its own. 0 = all of two shards.")
]
Rate = Annotated[
    int, Parameter(help="Copy so many bytes a second at most. 0 = as fast as the source's latency allows.")
]


def scale(
    cluster: str,
    /,
    *,
    shards: int,
    slots_per_step: SlotsPerStep = 0,
    rate: Rate = 0,
    plan: PlanOnly = False,
    detach: Detach = False,
    output: Output = "table",
    proxy: Proxy = HERE,
) -> int:
    """Spread a cluster's slots over so many of its shards, while it is served.

    Shards that the config lists with `slots: none` are ready to take some; of too many the last ones lose
    theirs, and may leave the config then. Shows what moves first, and how far it is until it is over; Ctrl-C
    leaves it going. Exit code 1 says why it was not done, 3 that it was given up.

    Parameters
    ----------
    cluster
        The cluster's name.
    shards
        How many shards are to have slots.
    """
    wants = {"do": "scale", "shards": shards, "slots_per_step": slots_per_step, "rate": rate}
    return submit(proxy, cluster, "reshard", wants, detach=detach, plan=plan, output=output)
