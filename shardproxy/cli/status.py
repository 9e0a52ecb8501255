"""`shardproxy status`: every shard and node of a running proxy."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from shardproxy.cli.ask import HERE, Output, Proxy, Watch, shard_label, show
from shardproxy.cli.tables import grid, section
from shardproxy.cli.waiting import job_line

COLUMNS = ("shard", "slots", "node", "role", "state", "lag", "zone", "epoch", "since")
PROXY_COLUMNS = ("proxy", "state", "leads", "epochs", "clients", "version", "zone", "admin")
CACHING_COLUMNS = (
    "rule",
    "hits",
    "ratio",
    "loads",
    "took",
    "stale",
    "waiting",
    "failures",
    "writes",
    "errors",
)
PAUSED = "paused: nothing is done to its nodes by itself, whatever is wrong, until shardproxy resume"
FINE = ("up", "unknown")
SHOWN = 8  # commands in one line; certificates
SOON = 14 * 86400.0  # seconds
IN_SYNC = ("streaming", None)  # None: of a primary, or not known


def status(*, output: Output = "table", watch: Watch = None, proxy: Proxy = HERE) -> int:
    """Show who is primary of each shard, how many slots it has, how each node is, and since when.

    One table per cluster, memcached pools among them. A replica that is up is streaming (gets every write),
    syncing (gets all data first), without a link, or astray (gets another's writes). Lag: bytes that a
    replica has not had yet. While a cluster is paused nothing is done to its nodes by itself, whatever is
    wrong with them.
    Where proxies share a store: all of them, with the clusters that each leads.
    Of a cluster with caching rules: what this proxy served, loaded and wrote by rule.
    Certificates are listed with their ends. Of a cluster of one shard: what its clients do that several
    shards would refuse, with the shape of keys.
    Exit code 1 when no proxy answers.
    """
    return show(proxy, "/api/status", output, _print, watch)


def _print(answer: dict[str, Any], out: Console) -> None:
    for name, cluster in answer["clusters"].items():
        out.print(cluster_table(name, cluster, out))
        if caching := cluster.get("caching"):  # an older proxy does not tell
            out.print(caching_table(name, caching, out))
        for line in (*complaints(cluster), *certificates(cluster, time.time()), *liberties(cluster)):
            out.print(line, markup=False, highlight=False, soft_wrap=True)
    if not answer["clusters"]:
        out.print("no cluster")
    store = answer.get("store", {"kind": "local"})  # an older proxy does not tell
    if store["kind"] != "local":
        out.print(proxies_table(answer["proxies"], store["kind"], out))
        for line in out_of_touch(store):
            out.print(line, markup=False, highlight=False, soft_wrap=True)


def cluster_table(name: str, cluster: dict[str, Any], out: Console) -> Table:
    """A row for each node, the primary first."""
    title = f"cluster {name}" + (" - paused" if cluster["is_paused"] else "")
    table = grid(out, COLUMNS, ("slots", "lag", "epoch", "since"), title=title)
    for shard in cluster["shards"]:
        for number, node in enumerate(sorted(shard["nodes"], key=lambda node: node["role"] != "primary")):
            table.add_row(
                shard_label(shard["shard"], shard["name"]) if number == 0 else "",
                slots_text(shard) if number == 0 else "",
                escape(node["address"]),
                node["role"],
                escape(state_text(node)),
                "" if node["role"] != "replica" else "?" if node["lag"] is None else str(node["lag"]),
                escape(node["zone"] or ""),
                str(shard["epoch"]) if number == 0 else "",
                since_text(node["since"]),
                style="" if is_fine(node) else "red",
            )
        section(table)
    return table


def caching_table(name: str, caching: dict[str, Any], out: Console) -> Table:
    """A row for each rule: what this proxy has served, loaded and written since it began."""
    title = f"caching of {name}, by this proxy"
    table = grid(out, CACHING_COLUMNS, CACHING_COLUMNS[1:], title=title)
    for rule in caching["rules"]:
        asked = rule["hits"] + rule["misses"]
        table.add_row(
            escape(rule["match"]),
            str(rule["hits"]),
            f"{100 * rule['hits'] / asked:.0f} %" if asked else "",
            str(rule["loads"]),
            "" if rule["load_seconds"] is None else f"{1000 * rule['load_seconds']:.1f} ms",
            str(rule["stale"]),
            str(rule["waiting"]),
            str(rule["failures"]),
            str(rule["writes"]),
            str(rule["errors"]),
        )
    return table


def slots_text(shard: dict[str, Any]) -> str:
    """How many it has; what an older proxy does not tell is left out."""
    if "slots" not in shard:
        return ""
    bounds = (slots.partition("-")[::2] for slots in shard["slots"])
    return str(sum(int(last or first) - int(first) + 1 for first, last in bounds))


def proxies_table(proxies: list[dict[str, Any]], kind: str, out: Console) -> Table:
    """A row for each proxy that shares the store; the one that answers is marked."""
    table = grid(out, PROXY_COLUMNS, ("clients", "epochs"), title=f"proxies in {kind}")
    for proxy in proxies:
        epochs = ", ".join(f"{cluster} {epoch}" for cluster, epoch in proxy["epochs"].items())
        table.add_row(
            f"{proxy['name']} *" if proxy["is_self"] else proxy["name"],
            "draining" if proxy["is_draining"] else "serves",
            ", ".join(proxy["leads"]),
            epochs,
            str(proxy["clients"]),
            proxy["version"],
            proxy["zone"] or "",
            proxy["admin"] or "",
            style="yellow" if proxy["is_draining"] else "",
        )
    return table


def out_of_touch(store: dict[str, Any]) -> list[str]:
    """The clusters of which this proxy may not know the latest."""
    clusters = [cluster for cluster, is_synced in store["synced"].items() if not is_synced]
    if not clusters:
        return []
    what = f"out of touch with {store['kind']}: {', '.join(clusters)}"
    return [f"{what}: served as last known, and nothing is decided from here"]


def state_text(node: dict[str, Any]) -> str:
    """A node's state; of a replica that is up, whether it gets its primary's writes."""
    return str(node["sync"] or node["state"]) if node["state"] == "up" else str(node["state"])


def is_fine(node: dict[str, Any]) -> bool:
    return node["state"] in FINE and node["sync"] in IN_SYNC


def complaints(cluster: dict[str, Any]) -> list[str]:
    """What is not as it should be, with the reason."""
    found = [PAUSED] if cluster["is_paused"] else []
    found += caching_complaints(cluster.get("caching"))
    if job := cluster.get("job"):
        found.append(job_line(job))
    if text := cluster.get("scaling", {}).get("text"):
        found.append(f"scaling: {text}")
    decider = cluster.get("decider") or {"asked": (), "trouble": None}
    if decider["trouble"]:
        found.append(f"{decider['from']} decides about it: {decider['trouble']}")
    else:
        silent = (one for one in decider["asked"] if one["why_silent"])
        found += [f"{decider['from']} {one['address']}: {one['why_silent']}" for one in silent]
    for shard in cluster["shards"]:
        name = shard_label(shard["shard"], shard["name"])
        if shard["state"] != "ok":
            found.append(f"shard {name}: {shard['state']}")
        if shard.get("why_not"):
            found.append(f"shard {name} is not served: {shard['why_not']}")
        if shard.get("is_moving"):
            found.append(f"shard {name}: slots move to or from it")
        if shard.get("held"):
            what = "writes to" if shard["is_only_writes_held"] else "requests for"
            found.append(f"shard {name}: {what} slots {', '.join(shard['held'])} wait")
        for node in shard["nodes"]:
            if node["state"] not in FINE:
                found.append(f"{node['address']} is {why_text(node)}")
            elif node["sync"] not in IN_SYNC:
                found.append(f"{node['address']} is up, but {node['sync']}: {node['sync_reason']}")
            if node["manager"]:
                found.append(f"{node['address']} is managed by {node['manager']}: no automatic failover")
    return found


def caching_complaints(caching: dict[str, Any] | None) -> list[str]:
    """Sources that are left alone, and writes that their databases do not have."""
    if caching is None:
        return []
    found = [
        f"source {one['source']} fails, and is left alone for a while"
        for one in caching["sources"]
        if one["is_open"]
    ]
    if caching["backlog"]:
        found.append(f"{caching['backlog']} writes wait for their database")
    if caching["dead_letters"]:
        found.append(
            f"{caching['dead_letters']} writes were refused by their database: shardproxy dead-letters"
        )
    return found


def why_text(node: dict[str, Any]) -> str:
    """What it is if it is not up, and why; of one that is silent also what it may be busy with."""
    busy, state, reason = node.get("busy"), node["state"], node["reason"]  # an older proxy does not tell
    why = reason if reason.startswith(state) else f"{state}: {reason}"
    if not busy or state == "busy":
        return str(why)
    command = busy["command"].replace("|", " ").upper()
    return f"{why} (owes {command} for {busy['seconds']} s, {busy['client']})"


def certificates(cluster: dict[str, Any], now: float) -> list[str]:
    """Until when those are valid that clients and nodes are shown, the first to expire first."""
    found = sorted(cluster.get("certificates", ()), key=lambda one: float(one["not_after"]))
    said = []
    for one in found[:SHOWN]:
        left, until = one["not_after"] - now, datetime.fromtimestamp(one["not_after"], UTC)
        state = (
            "has expired" if left <= 0 else f"expires in {since_text(left)}" if left < SOON else "is valid"
        )
        said.append(
            f"certificate for {one['name']} ({one['file']}) {state}, until {until:%Y-%m-%d %H:%M} UTC"
        )
    return said


def liberties(cluster: dict[str, Any]) -> list[str]:
    """What clients do that needs one shard, the most frequent first: to be known before there are more."""
    found = sorted(cluster.get("relaxed", {}).items(), key=lambda item: -item[1]["count"])
    if not found:
        return []
    said = [f"{of['count']} times {of['example']}" for _, of in found[:SHOWN]]
    more = [f"and {len(found) - SHOWN} more commands (shardproxy_relaxed_commands_total)"]
    return [f"needs one shard, several would refuse it: {'; '.join(said + more * (len(found) > SHOWN))}"]


def since_text(seconds: float | None) -> str:
    """How long ago, in the largest unit: `3m`."""
    if seconds is None:
        return ""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.0f}s"
