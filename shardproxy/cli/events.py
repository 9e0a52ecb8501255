"""`shardproxy events`: what happened to a running proxy's shards."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from shardproxy.cli.ask import DEFAULT_ADMIN, Admin, Output, console, show


def events(
    *,
    count: Annotated[int, Parameter(validator=Number(gte=1, lte=1000))] = 50,
    output: Output = "table",
    admin: Admin = DEFAULT_ADMIN,
) -> int:
    """Show the newest events of all shards, the newest last.

    Exit code 1 when no proxy answers.

    Parameters
    ----------
    count
        How many; a proxy keeps the last 1000.
    """
    return show(admin, f"/api/events?count={count}", output, _print)


def _print(answer: dict[str, Any]) -> None:
    out = console()
    for event in answer["events"]:
        shard = "" if event["shard"] is None else f"/{event['shard']}"
        line = f"{event['time']}  {event['cluster']}{shard}  {event['name']}: {event['message']}"
        out.print(line, markup=False, highlight=False, soft_wrap=True)
