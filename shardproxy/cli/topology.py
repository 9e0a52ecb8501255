"""`shardproxy topology`: what a running proxy routes by."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape

from shardproxy.cli.ask import HERE, Output, Proxy, Watch, shard_label, show
from shardproxy.cli.tables import grid, section


def topology(*, output: Output = "table", watch: Watch = None, proxy: Proxy = HERE) -> int:
    """Show which shard owns which slots, and on which nodes.

    One table per cluster. Exit code 1 when no proxy answers.
    """
    return show(proxy, "/api/topology", output, _print, watch)


COLUMNS = ("shard", "slots", "node", "role", "zone", "connections")


def _print(answer: dict[str, Any], out: Console) -> None:
    for name, cluster in answer["clusters"].items():
        where = ", ".join(cluster["endpoints"])
        title = f"cluster {name}: {cluster['engine']} on {escape(where)}, epoch {cluster['epoch']}"
        table = grid(out, COLUMNS, ("connections",), title=title)
        for shard in cluster["shards"]:
            for number, node in enumerate(shard["nodes"]):
                label = shard_label(shard["index"], shard.get("name"))
                first = (label, ", ".join(shard["slots"]) or "none") if number == 0 else ("", "")
                place, zone = escape(node["address"]), escape(node["zone"] or "")
                table.add_row(*first, place, node["role"], zone, str(node["connections"]))
            section(table)
        out.print(table)
