"""The page of `shardproxy top`: what fits of clusters, nodes, hot keys and events. Pure.

line                                        of 24
title                                       1
clusters and their classes of commands      a third of the rest
nodes: those in trouble, then the busiest   what is left
hot keys                                    4 at most
events                                      4 at most
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from shardproxy.cli.ask import shard_label
from shardproxy.cli.events import event_text
from shardproxy.cli.rates import ClassRates, ClusterRates
from shardproxy.cli.status import complaints, is_fine, since_text, slots_text, state_text
from shardproxy.cli.tables import count, percent, seconds, size

GIVING_WAY = frozenset({"cluster", "node", "hot key", "events"})  # columns that have what others leave
LEAST_NODES = 4  # rows
SOME = 4  # of hot keys and events
WIDE = 100  # columns


@dataclass(frozen=True, slots=True)
class View:
    """What is known at one moment. `hot` is None where the proxy does not tell."""

    admin: str
    now: str
    status: Mapping[str, Any]
    rates: Mapping[str, ClusterRates] = field(default_factory=dict)
    hot: Mapping[str, Any] | None = None
    events: Sequence[Mapping[str, Any]] = ()
    trouble: str = ""  # why what is shown is not of now


def top_page(view: View, width: int, height: int) -> RenderableType:
    """A page of so many columns and lines at most."""
    left = max(6, height - 1)
    hot = _hot_rows(view)[:SOME]
    events = [event_text(dict(event)) for event in view.events][-SOME:]
    while left - _lines(hot) - _lines(events) < LEAST_NODES + 5 and (hot or events):
        (events if len(events) >= len(hot) else hot).pop()
    left -= _lines(hot) + _lines(events)
    clusters = _cluster_rows(view)
    nodes = _node_rows(view, width)
    most = max(3, left // 2, left - 2 - len(nodes))
    parts: list[RenderableType] = [_title(view, width), _clusters(clusters[: most - 1])]
    left -= 1 + min(len(clusters), most - 1)
    parts.append(_nodes(nodes, left, width))
    if hot:
        parts.append(_hot(hot))
    if events:
        parts.append(_events(events))
    return Group(*parts)


def _lines(rows: Sequence[object]) -> int:
    return len(rows) + 1 if rows else 0


def _title(view: View, width: int) -> Text:
    status = view.status
    proxies = len(status.get("proxies", ()))
    told = [f"{proxies} proxies"] if proxies > 1 else []
    wrong = sum(len(complaints(cluster)) for cluster in status["clusters"].values())
    complaint = "1 complaint" if wrong == 1 else f"{wrong} complaints"
    told.append(f"{complaint}: shardproxy status" if wrong else "all well")
    text = Text(f"shardproxy {view.admin}  {view.now}  {', '.join(told)}  q quits", style="bold")
    if view.trouble:
        text = Text(f"{view.now}  {view.trouble}", style="bold red")
    text.truncate(width, overflow="ellipsis")
    text.no_wrap = True
    return text


def _table(columns: Iterable[tuple[str, str]]) -> Table:
    """Rows of one line each: what has no room in the column that gives way is cut."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold reverse", expand=True)
    for name, side in columns:
        is_right = side == "right"
        table.add_column(
            name,
            justify="right" if is_right else "left",
            no_wrap=True,
            overflow="ellipsis",
            ratio=1 if name in GIVING_WAY else None,
        )
    return table


# --- clusters ---

Row = tuple[tuple[str, ...], str]  # cells, and how they look

CLUSTERS = (
    ("cluster", "left"),
    ("class", "left"),
    ("req/s", "right"),
    ("p50", "right"),
    ("p99", "right"),
    ("p99.9", "right"),
    ("clients", "right"),
    ("traffic/s", "right"),
)


def _cluster_rows(view: View) -> list[Row]:
    """One for each cluster, and below it its classes, the busiest first; first all clusters' own."""
    own: list[Row] = []
    for name, cluster in view.status["clusters"].items():
        rates = view.rates.get(name, ClusterRates())
        title = f"{name} (paused)" if cluster["is_paused"] else name
        kind = "all" if not rates.parked else f"{rates.parked} parked"
        style = "yellow" if cluster["is_paused"] or rates.parked else "bold"
        own.append(
            ((escape(title), kind, *_class_cells(rates.all), count(rates.clients), size(rates.bytes)), style)
        )
        if len(view.status["clusters"]) == 1 or len(own) < SOME:
            found = sorted(rates.classes.items(), key=lambda item: -item[1].rate)
            own += [(("", escape(kind), *_class_cells(of), "", ""), "") for kind, of in found]
    return own


def _class_cells(of: ClassRates) -> tuple[str, ...]:
    return (count(of.rate), *(seconds(value) for value in of.percentiles))


def _clusters(rows: Sequence[Row]) -> Table:
    table = _table(CLUSTERS)
    for cells, style in rows:
        table.add_row(*cells, style=style)
    return table


# --- nodes ---


def _node_rows(view: View, width: int) -> list[Row]:
    """Those that are not well first, then the busiest shards."""
    rows: list[tuple[tuple[bool, float, str, int, bool], Row]] = []
    for name, cluster in view.status["clusters"].items():
        rates = view.rates.get(name, ClusterRates())
        for shard in cluster["shards"]:
            busy = sum(rates.nodes.get(node["address"], 0.0) for node in shard["nodes"])
            for node in shard["nodes"]:
                is_primary = node["role"] != "replica"
                order = (is_fine(node), -round(busy), name, shard["shard"], not is_primary)
                rows.append((order, _node_row(name, shard, node, rates, width)))
    return [row for _, row in sorted(rows, key=lambda item: item[0])]


def _node_row(
    cluster: str, shard: Mapping[str, Any], node: Mapping[str, Any], rates: ClusterRates, width: int
) -> Row:
    label = shard_label(shard["shard"], shard["name"])
    lag = "" if node["role"] != "replica" else "?" if node["lag"] is None else str(node["lag"])
    cells = [
        escape(f"{cluster}/{label}"),
        escape(node["address"]),
        node["role"],
        escape(state_text(dict(node))),
        count(rates.nodes.get(node["address"], 0.0)),
        lag,
        since_text(node["since"]),
        *((slots_text(dict(shard)), escape(node["zone"] or "")) if width >= WIDE else ()),
    ]
    return tuple(cells), "" if is_fine(dict(node)) else "red"


def _nodes(rows: Sequence[Row], lines: int, width: int) -> Table:
    names = ("shard", "node", "role", "state", "req/s", "lag", "since")
    wide = ("slots", "zone") if width >= WIDE else ()
    right = ("req/s", "lag", "since", "slots")
    table = _table((name, "right" if name in right else "left") for name in (*names, *wide))
    room = max(1, lines - 1)
    shown = rows if len(rows) <= room else rows[: room - 1]
    for cells, style in shown:
        table.add_row(*cells, style=style)
    if len(shown) < len(rows):
        table.add_row("", f"{len(rows) - len(shown)} nodes more", style="dim")
    return table


# --- hot keys and events ---


def _hot_rows(view: View) -> list[tuple[str, ...]]:
    found = [
        (key["requests_per_second"], name, key)
        for name, hot in (view.hot or {}).get("clusters", {}).items()
        for key in hot["keys"]
    ]
    found.sort(key=lambda item: (-item[0], item[1], item[2]["key"]))
    return [
        (
            escape(key["key"]),
            escape(f"{name}/{key['shard']}"),
            count(rate),
            size(key["bytes_per_second"]),
            percent(key["share"]),
            percent(key["reads"]),
        )
        for rate, name, key in found
    ]


def _hot(rows: Sequence[tuple[str, ...]]) -> Table:
    table = _table(
        (
            ("hot key", "left"),
            ("shard", "left"),
            ("req/s", "right"),
            ("traffic/s", "right"),
            ("of shard", "right"),
            ("reads", "right"),
        )
    )
    for cells in rows:
        table.add_row(*cells)
    return table


def _events(lines: Sequence[str]) -> Table:
    table = _table((("events", "left"),))
    for line in lines:
        table.add_row(escape(line))
    return table
