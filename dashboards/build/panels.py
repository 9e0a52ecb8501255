"""Panels as Grafana has them, and the short words that queries are written with. Knows nothing of layout."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
Query = tuple[str, str]  # expression, legend

DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}

# What is chosen above the dashboard, and over how long a rate is taken.
PROXIES = 'instance=~"$instance"'
CLUSTERS = f'{PROXIES}, cluster=~"$cluster"'
SHARDS = f'{CLUSTERS}, shard=~"$shard"'
WORDS = {"@p": PROXIES, "@c": CLUSTERS, "@s": SHARDS, "@r": "$__rate_interval"}

GREEN, ORANGE, RED = "green", "orange", "red"
Steps = tuple[tuple[float, str], ...]  # from which value on, which colour
NONE_IS_RIGHT: Steps = ((1, RED),)


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel; `width` of 24 columns is its line's part when 0."""

    kind: str
    title: str
    text: str  # what it shows, in a sentence
    unit: str
    queries: tuple[Query, ...]
    defaults: Json = field(default_factory=dict)
    options: Json = field(default_factory=dict)
    is_instant: bool = False

    def written(self, number: int, place: Json) -> Json:
        """As Grafana reads it."""
        targets = [
            {
                "refId": chr(ord("A") + index),
                "datasource": DATASOURCE,
                "expr": spelled(expression),
                "legendFormat": legend,
                **({"instant": True, "range": False, "format": "table"} if self.is_instant else {}),
            }
            for index, (expression, legend) in enumerate(self.queries)
        ]
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.text,
            "datasource": DATASOURCE,
            "gridPos": place,
            "fieldConfig": {"defaults": {"unit": self.unit, **self.defaults}, "overrides": []},
            "options": self.options,
            "targets": targets,
        }


def spelled(expression: str) -> str:
    """The expression with its short words spelled out, on one line."""
    for word, meaning in WORDS.items():
        expression = expression.replace(word, meaning)
    return " ".join(expression.split())


def series(title: str, text: str, unit: str, *queries: Query, least: float | None = 0) -> Panel:
    """Lines over time."""
    return Panel(
        "timeseries",
        title,
        text,
        unit,
        queries,
        {
            **({} if least is None else {"min": least}),
            "custom": {"lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": False},
        },
        {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    )


def stat(
    title: str, text: str, unit: str, query: str, *, steps: Steps = (), legend: str = "", name: bool = False
) -> Panel:
    """One number, with colours from steps on; `name`: the legend is what is to be read, not the value."""
    return Panel(
        "stat",
        title,
        text,
        unit,
        ((query, legend),),
        {"thresholds": _thresholds(steps), "color": {"mode": "thresholds"}},
        {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "value",
            "graphMode": "none" if name else "area",
            "textMode": "name" if name else "auto",
        },
    )


def states(title: str, text: str, *queries: Query, words: dict[int, tuple[str, str]]) -> Panel:
    """Bands over time; each value is a word with a colour."""
    options = {str(value): {"text": word, "color": color} for value, (word, color) in words.items()}
    return Panel(
        "state-timeline",
        title,
        text,
        "short",
        queries,
        {"mappings": [{"type": "value", "options": options}], "custom": {"fillOpacity": 70, "lineWidth": 0}},
        {"mergeValues": True, "showValue": "never", "rowHeight": 0.9},
    )


def bars(
    title: str, text: str, unit: str, *queries: Query, steps: Steps = (), most: float | None = None
) -> Panel:
    """The value now of each, as bars."""
    return Panel(
        "bargauge",
        title,
        text,
        unit,
        queries,
        {
            "min": 0,
            **({} if most is None else {"max": most}),
            "thresholds": _thresholds(steps),
            "color": {"mode": "thresholds"},
        },
        {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "orientation": "horizontal",
            "displayMode": "basic",
        },
    )


def _thresholds(steps: Steps) -> Json:
    first: Json = {"color": GREEN, "value": None}
    return {"mode": "absolute", "steps": [first, *({"color": c, "value": v} for v, c in steps)]}


def rate(metric: str, *labels: str, of: str = "@c", word: str = "", legend: str = "") -> Query:
    """Of a counter, a second, by these labels. The legend is those and a word, unless it is given."""
    by = ", ".join(labels)
    return f"sum by ({by}) (rate({metric}{{{of}}}[@r]))", legend or named(*labels, word=word)


def now(how: str, metric: str, *labels: str, of: str = "@c", word: str = "", legend: str = "") -> Query:
    """Of a gauge, by these labels; `how` (sum, max, min) those are brought together that have the same."""
    by = ", ".join(labels)
    return f"{how} by ({by}) ({metric}{{{of}}})", legend or named(*labels, word=word)


def if_any(query: Query) -> Query:
    """The same, and nothing while it is 0."""
    expression, legend = query
    return f"{expression} > 0", legend


def named(*labels: str, word: str = "") -> str:
    """A legend of labels and a word."""
    return " ".join((*(f"{{{{{label}}}}}" for label in labels), word)).strip()


def percentiles(
    metric: str,
    of: str,
    *labels: str,
    parts: tuple[float, ...] = (0.5, 0.99, 0.999),
    over: str = "@r",
) -> tuple[Query, ...]:
    """Of a histogram, all proxies' buckets together: percentiles are never averaged."""
    by = ", ".join((*labels, "le"))
    return tuple(
        (
            f"histogram_quantile({part}, sum by ({by}) (rate({metric}_bucket{{{of}}}[{over}])))",
            named(*labels, word=f"p{part * 100:g}"),
        )
        for part in parts
    )
