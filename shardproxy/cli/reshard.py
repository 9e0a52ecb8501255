"""`shardproxy reshard`: slots that are named, to a shard that is named; and what is under way."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Literal, get_args

from cyclopts import Parameter

from shardproxy.cli.ask import HERE, AskError, Output, Proxy
from shardproxy.cli.scale import Rate, SlotsPerStep
from shardproxy.cli.waiting import Detach, PlanOnly, job_line, job_of, submit, wish

Wish = Literal["status", "pause", "resume", "abort"]


def reshard(
    cluster: str,
    what: Wish | None = None,
    /,
    *,
    move: Annotated[list[str], Parameter(negative="")] | None = None,
    slots_per_step: SlotsPerStep = 0,
    rate: Rate = 0,
    plan: PlanOnly = False,
    detach: Detach = False,
    output: Output = "table",
    proxy: Proxy = HERE,
) -> int:
    """Move slots to a shard, while they are served: `reshard CLUSTER --move 0-1000:SHARD`.

    `reshard CLUSTER status` shows what is under way, and `pause`, `resume` and `abort` do that to it. Once
    given up, slots that were moved stay where they are, and those under way stay where they were.

    Parameters
    ----------
    cluster
        The cluster's name.
    what
        `status`, `pause`, `resume` or `abort`.
    move
        SLOTS:SHARD, as in 0-1000,2000:b; may be given several times.
    """
    if (what is None) == (not move):
        words = ", ".join(get_args(Wish))
        print(f"shardproxy: give --move SLOTS:SHARD, or one of {words} after the cluster", file=sys.stderr)
        return 1
    if what is None:
        wants = {"do": "move", "moves": move, "slots_per_step": slots_per_step, "rate": rate}
        return submit(proxy, cluster, "reshard", wants, detach=detach, plan=plan, output=output)
    try:
        job = job_of(proxy, cluster, "reshard")
    except AskError as error:
        print(f"shardproxy: {error}", file=sys.stderr)
        return 1
    if what != "status":
        return wish(proxy, cluster, what, number=str(job["id"]), output=output)
    print(json.dumps({"job": job}, indent=2) if output == "json" else job_line(job))
    return 0
