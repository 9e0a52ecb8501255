"""`shardproxy slowlog`: the slowest requests, and where their time went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.markup import escape

from shardproxy.cli.ask import HERE, Output, Proxy, Watch, path_of, show
from shardproxy.cli.tables import grid, moment, seconds

PHASES = ("waited", "parked", "upstream", "engine", "client")


def slowlog(
    cluster: str | None = None,
    /,
    *,
    limit: Annotated[int, Parameter(validator=Number(gte=1, lte=1000))] = 20,
    output: Output = "table",
    watch: Watch = None,
    proxy: Proxy = HERE,
) -> int:
    """Show requests that took longer than their cluster's slow_log.threshold, the newest last.

    Where their time went: waited for its turn, parked for a primary, upstream (to the node and back), engine
    (where the node's own slow log has it), client (until it read the reply).
    Exit code 1 when no proxy answers.

    Parameters
    ----------
    cluster
        Default: all.
    limit
        How many.
    """
    return show(proxy, path_of("/api/slowlog", cluster=cluster, limit=limit), output, _print, watch)


def _print(answer: dict[str, Any], out: Console) -> None:
    for name, log in answer["clusters"].items():
        threshold = log["threshold_us"]
        slower = (
            "off (slow_log.threshold)" if threshold is None else f"slower than {seconds(threshold / 1e6)}"
        )
        title = f"cluster {escape(name)}: {slower}"
        if not log["entries"]:
            out.print(title if threshold is None else f"{title}: none", highlight=False)
            continue
        columns = ("at (UTC)", "took", "of which", "request", "client", "shard, node")
        table = grid(out, columns, ("took",), title=title)
        for entry in sorted(log["entries"], key=lambda entry: float(entry["at"])):
            where = [str(entry[part]) for part in ("shard", "node") if entry.get(part) is not None]
            who = " ".join(filter(None, (entry["client"], entry.get("name"), entry.get("user"))))
            table.add_row(
                moment(entry["at"]),
                seconds(entry["microseconds"] / 1e6),
                escape(", ".join(filter(None, (phases_text(entry["phases"]), behind_text(entry))))),
                escape(" ".join(entry["arguments"]) or entry["command"]),
                escape(who),
                escape(", ".join(where)),
                style="" if entry.get("outcome") in ("ok", None) else "red",
            )
        out.print(table)


def behind_text(entry: Mapping[str, Any]) -> str:
    """What its node was busy with, where that is known."""
    behind = entry.get("behind")
    return f"behind {behind['command']} {seconds(behind['microseconds'] / 1e6)}" if behind else ""


def phases_text(phases: Mapping[str, float | None]) -> str:
    """Those that took any time, the longest first: `engine 12ms, waited 3ms`."""
    known = [(phases[name] or 0.0, name) for name in PHASES if phases.get(name)]
    return ", ".join(f"{name} {seconds(micros / 1e6)}" for micros, name in sorted(known, reverse=True))
