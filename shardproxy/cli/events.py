"""`shardproxy events`: what happened to a running proxy's shards."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from shardproxy.cli.ask import HERE, Output, Proxy, Watch, shard_label, show


def events(
    *,
    count: Annotated[int, Parameter(validator=Number(gte=1, lte=1000))] = 50,
    output: Output = "table",
    watch: Watch = None,
    proxy: Proxy = HERE,
) -> int:
    """Show the newest events of all shards, the newest last.

    Exit code 1 when no proxy answers.

    Parameters
    ----------
    count
        How many; a proxy keeps the last 1000.
    """
    return show(proxy, f"/api/events?count={count}", output, _print, watch)


def _print(answer: dict[str, Any], out: Console) -> None:
    for event in answer["events"]:
        line = f"{event['time']}  {event_text(event)}"
        out.print(line, markup=False, highlight=False, soft_wrap=True)


def event_text(event: dict[str, Any]) -> str:
    """Where, what, and why: `sessions/0  FailoverComplete: ...`."""
    where = "/".join(filter(None, (event["cluster"], shard_label(event["shard"], event["shard_name"]))))
    return f"{where}  {event['name']}: {event['message']}"
