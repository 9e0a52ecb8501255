"""`shardproxy hotkeys`: what is asked for most."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.markup import escape

from shardproxy.cli.ask import HERE, Output, Proxy, Watch, path_of, show
from shardproxy.cli.tables import count, grid, percent, size

SHOWN_SLOTS = 10
SHOWN_SHARDS = 3  # of a family


def hotkeys(
    cluster: str | None = None,
    /,
    *,
    by: Literal["requests", "bytes"] = "requests",
    limit: Annotated[int, Parameter(validator=Number(gte=1, lte=1000))] = 20,
    output: Output = "table",
    watch: Watch = None,
    proxy: Proxy = HERE,
) -> int:
    """Show the keys, slots and key families that clients of this proxy ask for most.

    Counted by a sample of the requests of the last seconds. Share: of its shard's requests, of a family of
    the whole cluster's. A key that has most of its shard's requests is cured by no resharding.
    Exit code 1 when no proxy answers.

    Parameters
    ----------
    cluster
        Default: all.
    by
        What they are ordered by.
    limit
        How many keys.
    """
    path = path_of("/api/hotkeys", cluster=cluster, by=by, limit=limit)
    return show(proxy, path, output, _print, watch)


def _print(answer: dict[str, Any], out: Console) -> None:
    for name, hot in answer["clusters"].items():
        of = f"{hot['sampled']} requests of {hot['seconds']:g} s sampled, 1 in {hot['sample']}"
        out.print(f"cluster {escape(name)}: {of}", highlight=False)
        _print_keys(hot, out)
        _print_slots(hot, out)
        _print_families(hot, out)
    if not answer["clusters"]:
        out.print("no cluster")


def _print_keys(hot: dict[str, Any], out: Console) -> None:
    table = grid(
        out,
        ("key", "shard", "slot", "req/s", "bytes/s", "share", "reads"),
        ("shard", "slot", "req/s", "bytes/s", "share", "reads"),
    )
    for key in hot["keys"]:
        slot = "" if key["slot"] is None else str(key["slot"])
        table.add_row(
            escape(key["key"]),
            str(key["shard"]),
            slot,
            count(key["requests_per_second"]),
            size(key["bytes_per_second"]),
            percent(key["share"]),
            percent(key["reads"]),
        )
    out.print(table if hot["keys"] else "no key stands out")


def _print_slots(hot: dict[str, Any], out: Console) -> None:
    slots = [one for one in hot.get("slots", ()) if one["slot"] is not None][:SHOWN_SLOTS]
    if slots:
        table = grid(out, ("hot slot", "shard", "req/s", "share"), ("hot slot", "shard", "req/s", "share"))
        for one in slots:
            rate, share = count(one["requests_per_second"]), percent(one["share"])
            table.add_row(str(one["slot"]), str(one["shard"]), rate, share)
        out.print(table)


def _print_families(hot: dict[str, Any], out: Console) -> None:
    if not hot.get("families"):
        return
    table = grid(out, ("family", "req/s", "bytes/s", "share", "of shards"), ("req/s", "bytes/s", "share"))
    for one in hot["families"]:
        shares = sorted(one["shards"].items(), key=lambda item: -item[1])
        text = ", ".join(f"{shard}: {percent(share)}" for shard, share in shares[:SHOWN_SHARDS])
        table.add_row(
            escape(one["family"]),
            count(one["requests_per_second"]),
            size(one["bytes_per_second"]),
            percent(one["share"]),
            text + (", ..." if len(shares) > SHOWN_SHARDS else ""),
        )
    out.print(table)
