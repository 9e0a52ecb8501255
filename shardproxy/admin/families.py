"""Tables of metrics as prometheus-client has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family

from shardproxy.admin.metric import COUNTER, Histogram, Line, Metric, Summary, View


def families(lines: Iterable[Line[View]], view: View) -> Iterator[Family]:
    """One for each line, with all that it reads now."""
    for line in lines:
        match line:
            case Metric():
                yield _number(line, view)
            case Histogram():
                yield _histogram(line, view)
            case Summary():
                yield _summary(line, view)


def _number(line: Metric[View], view: View) -> Family:
    make = CounterMetricFamily if line.kind is COUNTER else GaugeMetricFamily
    family = make(line.name, line.help, labels=line.labels)
    for labels, value in line.read(view):
        family.add_metric(labels, value)
    return family


def _histogram(line: Histogram[View], view: View) -> Family:
    family = HistogramMetricFamily(line.name, line.help, labels=line.labels)
    for labels, bounds, total in line.read(view):
        family.add_metric(labels, [(_bound(le), count) for le, count in bounds], total)
    return family


def _summary(line: Summary[View], view: View) -> Family:
    family = SummaryMetricFamily(line.name, line.help, labels=line.labels)
    for labels, count, total in line.read(view):
        family.add_metric(labels, count, total)
    return family


def _bound(le: float) -> str:
    return "+Inf" if le == float("inf") else str(le)
