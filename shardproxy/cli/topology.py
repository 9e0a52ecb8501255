"""`shardproxy topology`: what a running proxy routes by."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from shardproxy.cli.ask import HERE, Output, Proxy, console, shard_label, show


def topology(*, output: Output = "table", proxy: Proxy = HERE) -> int:
    """Show which shard owns which slots, and on which nodes.

    One table per cluster. Exit code 1 when no proxy answers.
    """
    return show(proxy, "/api/topology", output, _print)


def _print(answer: dict[str, Any]) -> None:
    out = console()
    for name, cluster in answer["clusters"].items():
        where = ", ".join(cluster["endpoints"])
        title = f"cluster {name}: {cluster['engine']} on {where}, epoch {cluster['epoch']}"
        table = Table(
            "shard", "slots", "node", "role", "zone", "connections", title=title, title_justify="left"
        )
        for shard in cluster["shards"]:
            for number, node in enumerate(shard["nodes"]):
                label = shard_label(shard["index"], shard.get("name"))
                first = (label, ", ".join(shard["slots"]) or "none") if number == 0 else ("", "")
                row = (node["address"], node["role"], node["zone"] or "", str(node["connections"]))
                table.add_row(*first, *row)
            table.add_section()
        out.print(table)
