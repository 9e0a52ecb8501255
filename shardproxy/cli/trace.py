"""`shardproxy trace`: requests as they are answered."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from shardproxy.cli.ask import HERE, AskError, Output, Proxy, ask_lines, console, fail, path_of
from shardproxy.cli.slowlog import phases_text
from shardproxy.cli.tables import count, seconds, size

INTERRUPTED = 130
ENDS = {
    "time": "its time is over",
    "limit": "so many were asked for: --limit",
    "gone": "nobody read what was told",
}


def trace(
    cluster: str,
    /,
    *,
    match: str = "*",
    for_seconds: Annotated[
        float, Parameter(name="--seconds", validator=Number(gt=0, lte=600), help="For how long.")
    ] = 5.0,
    limit: Annotated[int, Parameter(validator=Number(gte=1, lte=100_000))] = 1000,
    output: Output = "table",
    proxy: Proxy = HERE,
) -> int:
    """Watch a cluster's requests as they are answered: who sent what, which node, and how long it took.

    Values are never shown. A proxy that cannot tell all of them leaves some out and says how many.
    It needs the right to act, for workers work for it. With --output json every line is an object.
    Exit code 1 when no proxy answers.

    Parameters
    ----------
    cluster
        Its name.
    match
        Only those whose key is like this: user:*
    limit
        So many at most.
    """
    path = path_of("/api/trace", cluster=cluster, match=match, seconds=f"{for_seconds:g}", limit=limit)
    try:
        out = console()
        for line in ask_lines(proxy, path, silence=for_seconds + 10.0):
            if output == "json":
                print(json.dumps(line), flush=True)
            else:
                text = end_text(line) if "ended" in line else line_text(line)
                out.print(text, markup=False, highlight=False, soft_wrap=True)
    except AskError as error:
        return fail(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def line_text(line: dict[str, Any]) -> str:
    """A request in one line."""
    at = f"{datetime.fromtimestamp(line['at'], UTC):%H:%M:%S.%f}"[:-3]
    what = " ".join(filter(None, (line["command"], line.get("key"))))
    where = f"{line['shard']}@{line['node']}" if line.get("node") else "proxy"
    sizes = f"{size(line['request_bytes'])}/{size(line['reply_bytes'])}"
    said = (
        at,
        seconds(line["microseconds"] / 1e6),
        what,
        where,
        sizes,
        line["client"],
        line.get("user") or "",
    )
    outcome = "" if line["outcome"] == "ok" else line["outcome"]
    return "  ".join(filter(None, (*said, phases_text(line.get("phases") or {}), outcome)))


def end_text(line: dict[str, Any]) -> str:
    dropped = f", {count(line['dropped'])} of them not shown: too many at once" if line["dropped"] else ""
    return f"{count(line['seen'])} seen{dropped}; {ENDS.get(line['ended'], line['ended'])}"
