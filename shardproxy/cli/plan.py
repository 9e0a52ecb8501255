"""`shardproxy plan`: what other shards and nodes would make of a cluster, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.markup import escape

from shardproxy.cli.ask import (
    ACT_TIMEOUT,
    HERE,
    AskError,
    Output,
    Proxy,
    ask,
    fail,
    path_of,
    print_page,
)
from shardproxy.cli.tables import count, grid, percent, size
from shardproxy.insight.figures import figures_read
from shardproxy.insight.planning import Wish
from shardproxy.insight.planning import plan as plan_made
from shardproxy.insight.prices import Prices, PricesError, prices_read
from shardproxy.reshard.layout import LayoutError

PLACES = (Path("node-types.yaml"), Path("config/node-types.yaml"))
NO_FILE = (
    "which node types are there? --node-types FILE says what they hold and cost; config/node-types.yaml is an"
    " example"
)
RIGHT = ("slots", "keys", "memory", "full", "req/s", "core", "network")


def plan(
    cluster: str | None = None,
    /,
    *,
    shards: Annotated[int | None, Parameter(validator=Number(gte=1, lte=250))] = None,
    replicas: Annotated[int | None, Parameter(validator=Number(gte=0, lte=5))] = None,
    node_type: str | None = None,
    node_types: Annotated[
        Path | None, Parameter(env_var="SHARDPROXY_NODE_TYPES", show_env_var=False, show_default=False)
    ] = None,
    sample: Annotated[int, Parameter(validator=Number(gte=0, lte=50_000))] = 10_000,
    output: Output = "table",
    proxy: Proxy = HERE,
) -> int:
    """Say how full and how busy each shard would be with another number of shards or other nodes.

    From the keys, bytes and requests of now, and slots dealt out as `shardproxy scale` would. Looks for two
    seconds, and at a sample of keys; changes nothing. Core: the part of one that commands keep busy, on the
    machines of now. It needs the right to act, for nodes work for it. Exit code 1 when no proxy answers.

    Parameters
    ----------
    cluster
        Its name. Default: the only one.
    shards
        How many shards. Default: as many as now.
    replicas
        How many replicas each has. Default: as now.
    node_type
        Of all nodes: one of the file.
    node_types
        A YAML file with what node types hold and cost. Default: node-types.yaml, here or in config/. Also
        $SHARDPROXY_NODE_TYPES.
    sample
        How many keys of each shard are looked at.
    """
    try:
        prices = _prices(node_types, node_type)
        answer = ask(proxy, path_of("/api/usage", cluster=cluster, sample=sample), timeout=ACT_TIMEOUT)
        name, usage = _chosen(answer["clusters"], cluster)
        kind = prices.kind(node_type) if prices is not None and node_type is not None else None
        reserved = prices.reserved_memory if prices is not None else 0.0
        made = plan_made(figures_read(usage), Wish(shards, replicas, kind, reserved), _hot_slots(proxy, name))
    except (AskError, PricesError, LayoutError) as error:
        return fail(error)
    unseen = [shard for shard in usage["shards"] if shard["why_not"]]
    document: dict[str, Any] = {
        "cluster": name,
        "node_type": node_type,
        **made.document(),
        "unseen": [f"shard {shard['label']}: {shard['why_not']}" for shard in unseen],
        "currency": prices.currency if prices is not None else None,
        "prices_as_of": prices.as_of if prices is not None else None,
    }
    return print_page(document, output, _print)


def _prices(file: Path | None, node_type: str | None) -> Prices | None:
    """None where nobody asks for a node type; raise PricesError."""
    if node_type is None and file is None:
        return None
    found = file or next((place for place in PLACES if place.is_file()), None)
    if found is None:
        raise PricesError(NO_FILE)
    return prices_read(found)


def _chosen(clusters: Mapping[str, Any], cluster: str | None) -> tuple[str, Any]:
    """The cluster that is meant; raise AskError."""
    redis = {name: of for name, of in clusters.items() if of["engine"] == "redis"}
    if cluster is not None and cluster not in redis:
        raise AskError(f"{cluster} has no slots to deal out: a pool's keys go where its hashing says")
    if len(redis) != 1:
        raise AskError(f"name a cluster: {', '.join(sorted(redis)) or 'there is none with slots'}")
    return next(iter(redis.items()))


def _hot_slots(proxy: Proxy, cluster: str) -> dict[int, float]:
    """Requests a second of slots that stand out; nothing where the proxy does not tell."""
    try:
        hot = ask(proxy, path_of("/api/hotkeys", cluster=cluster, limit=100))["clusters"].get(cluster, {})
    except AskError:
        return {}
    slots = (one for one in hot.get("slots", ()) if one["slot"] is not None)
    return {one["slot"]: one["requests_per_second"] for one in slots}


def _print(document: dict[str, Any], out: Console) -> None:
    before, after = len(document["before"]), len(document["after"])
    _print_shards(document["before"], f"{document['cluster']} now: {before} shards", out)
    kind = f" of {document['node_type']}" if document["node_type"] else ""
    nodes = f"{after} shards, {document['nodes']} nodes{kind}"
    _print_shards(document["after"], f"{document['cluster']} then: {nodes}", out)
    for text in (*document["unseen"], *document["warnings"]):
        out.print(f"[yellow]![/] {escape(text)}", highlight=False)
    _print_costs(document, out)
    if before != after:
        command = f"shardproxy scale {document['cluster']} --shards {after}"
        hint = " (list the new ones in the config with slots: none first)" if after > before else ""
        out.print(f"{escape(command)} does it{hint}", highlight=False)


def _print_shards(shards: list[dict[str, Any]], title: str, out: Console) -> None:
    table = grid(out, ("shard", *RIGHT), RIGHT, title=escape(title))
    for shard in shards:
        table.add_row(
            escape(shard["label"]),
            str(shard["slots"]),
            count(shard["keys"]),
            size(shard["bytes"]),
            percent(shard["full"]),
            count(shard["requests_per_second"]),
            "" if shard["cpu"] is None else f"{100 * shard['cpu']:.1f} %",
            f"{size(shard['bytes_per_second'])}/s",
        )
    out.print(table)


def _print_costs(document: dict[str, Any], out: Console) -> None:
    costs, currency = document["costs_per_month"], document["currency"]
    said = [
        f"{name.replace('_', ' ')} {price:,.2f} {currency}"
        for name, price in costs.items()
        if price is not None
    ]
    if said:
        as_of = f" (prices: {document['prices_as_of']})" if document["prices_as_of"] else ""
        out.print(f"a month: {', '.join(said)}{escape(as_of)}", highlight=False)
