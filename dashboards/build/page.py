"""A dashboard: its variables, and where its panels stand. Knows nothing of what is shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dashboards.build.panels import CLUSTERS, DATASOURCE, PROXIES, Json, Panel

WIDTH = 24  # columns of Grafana's grid
SCHEMA = 39  # Grafana 10 and 11; newer ones read it as well
SMALL, LARGE = 4, 8  # rows that a line of numbers, and one of anything else, is high

Line = Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Row:
    """A heading, and lines of panels that share the width."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """What is chosen above the dashboard: values of a label, or what `pattern` finds in an answer."""

    name: str
    query: str
    pattern: str = ""
    is_single: bool = False

    def written(self) -> Json:
        """As Grafana reads it."""
        everything = {} if self.is_single else {"current": {"text": "All", "value": "$__all"}}
        return {
            "name": self.name,
            "label": self.name,
            "type": "query",
            "datasource": DATASOURCE,
            "definition": self.query,
            "query": {"query": self.query, "refId": self.name},
            "regex": self.pattern,
            "refresh": 2,
            "includeAll": not self.is_single,
            "multi": not self.is_single,
            "sort": 3 if self.name == "shard" else 1,
            **everything,
        }


INSTANCE = Variable("instance", "label_values(shardproxy_info, instance)")
CLUSTER = Variable("cluster", f"label_values(shardproxy_clients{{{PROXIES}}}, cluster)")
REDIS = Variable("cluster", f"label_values(shardproxy_shard_epoch{{{PROXIES}}}, cluster)")
ONE_REDIS = Variable("cluster", f"label_values(shardproxy_shard_epoch{{{PROXIES}}}, cluster)", is_single=True)
POOL = Variable(
    "cluster",
    f"query_result(count by (cluster) (shardproxy_clients{{{PROXIES}}})"
    " unless on (cluster) shardproxy_shard_epoch)",
    '/cluster="([^"]+)"/',
)
ONE_SHARD = Variable("shard", f"label_values(shardproxy_shard_epoch{{{CLUSTERS}}}, shard)", is_single=True)
RULE_CLUSTER = Variable("cluster", f"label_values(shardproxy_cache_hits_total{{{PROXIES}}}, cluster)")


@dataclass(frozen=True, slots=True)
class Page:
    """One dashboard; `name` is its file's, and its uid shardproxy-NAME."""

    name: str
    title: str
    text: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]

    def written(self) -> Json:
        """As Grafana reads it."""
        panels: list[Json] = []
        y = 0
        for row in self.rows:
            place = {"h": 1, "w": WIDTH, "x": 0, "y": y}
            panels.append(
                {
                    "id": len(panels) + 1,
                    "type": "row",
                    "title": row.title,
                    "collapsed": False,
                    "gridPos": place,
                    "panels": [],
                }
            )
            y += 1
            for line in row.lines:
                height = SMALL if all(panel.kind == "stat" for panel in line) else LARGE
                for index, panel in enumerate(line):
                    left, right = (WIDTH * at // len(line) for at in (index, index + 1))
                    place = {"h": height, "w": right - left, "x": left, "y": y}
                    panels.append(panel.written(len(panels) + 1, place))
                y += height
        return {
            "uid": f"shardproxy-{self.name}",
            "title": self.title,
            "description": self.text,
            "tags": ["shardproxy"],
            "schemaVersion": SCHEMA,
            "version": 1,
            "editable": True,
            "refresh": "30s",
            "time": {"from": "now-1h", "to": "now"},
            "timezone": "browser",
            "graphTooltip": 1,
            "links": [
                {
                    "type": "dashboards",
                    "title": "shardproxy",
                    "tags": ["shardproxy"],
                    "asDropdown": False,
                    "includeVars": True,
                    "keepTime": True,
                }
            ],
            "templating": {
                "list": [
                    {
                        "name": "datasource",
                        "label": "datasource",
                        "type": "datasource",
                        "query": "prometheus",
                        "current": {},
                    },
                    *(variable.written() for variable in self.variables),
                ]
            },
            "annotations": {
                "list": [
                    {
                        "name": "Topology changes",
                        "enable": True,
                        "iconColor": "orange",
                        "datasource": DATASOURCE,
                        "expr": f"changes(shardproxy_topology_epoch{{{CLUSTERS}}}[1m]) > 0",
                        "titleFormat": "{{cluster}}: new topology",
                    }
                ]
            },
            "panels": panels,
        }


def text_of(page: Page) -> str:
    """The file: a panel a line, so that a change shows as one."""
    whole = page.written()
    panels = whole.pop("panels")
    head = json.dumps(whole, indent=1, ensure_ascii=False).removesuffix("\n}")
    lines = ",\n".join("  " + json.dumps(panel, ensure_ascii=False) for panel in panels)
    return f'{head},\n "panels": [\n{lines}\n ]\n}}\n'


def files_of(pages: Sequence[Page]) -> dict[Path, str]:
    """Every dashboard's file, and what is to be in it."""
    folder = Path(__file__).parents[1]
    return {folder / f"{page.name}.json": text_of(page) for page in pages}
