"""The status page: one plain HTML table per cluster, no script."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from shardproxy import __version__

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ccc;padding:.2rem .6rem;"
    "text-align:left}caption{text-align:left;font-weight:bold;padding:.6rem 0}"
)


def page_render(document: dict[str, Any], problems: list[str]) -> str:
    """Render the topology document, and what keeps the proxy from being ready."""
    return "\n".join(_lines(document, problems))


def _lines(document: dict[str, Any], problems: list[str]) -> Iterator[str]:
    yield f"<!doctype html><html lang=en><meta charset=utf-8><title>shardproxy</title><style>{STYLE}</style>"
    yield f"<h1>shardproxy {escape(__version__)}</h1>"
    yield f"<p>{escape('; '.join(problems)) if problems else 'Ready.'}</p>"
    for name, cluster in document["clusters"].items():
        yield from _cluster(name, cluster)
    yield "<p><a href=/api/status>status</a> · <a href=/api/events>events</a> · "
    yield "<a href=/api/topology>topology</a> · <a href=/api/clients>clients</a> · "
    yield "<a href=/metrics>metrics</a> · <a href=/readyz>readyz</a> · <a href=/livez>livez</a></p></html>"


def _cluster(name: str, cluster: dict[str, Any]) -> Iterator[str]:
    endpoints = escape(", ".join(cluster["endpoints"]) or "nowhere yet")
    yield f"<table><caption>{escape(name)}: {escape(str(cluster['engine']))} on {endpoints}, "
    yield f"epoch {cluster['epoch']}, {cluster['clients']} clients</caption>"
    yield "<tr><th>shard<th>slots<th>node<th>role<th>zone<th>connections</tr>"
    for shard in cluster["shards"]:
        for node in shard["nodes"]:
            slots = escape(", ".join(shard["slots"]))
            yield (
                f"<tr><td>{shard['index']}<td>{slots}<td>{escape(node['address'])}<td>{node['role']}"
                f"<td>{escape(node['zone'] or '')}<td>{node['connections']}</tr>"
            )
    yield "</table>"
