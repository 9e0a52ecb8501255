"""The metrics of the process itself: its version, reloads, certificates, audit log and spans."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from shardproxy import __version__
from shardproxy.access.audit import AuditStatistics
from shardproxy.admin.metric import COUNTER, GAUGE, Metric, Sample
from shardproxy.admin.status import Status
from shardproxy.telemetry.statistics import SpanStatistics


@dataclass(frozen=True, slots=True)
class ProcessView:
    """What a scrape sees of the process."""

    status: Status
    audit: AuditStatistics = field(default_factory=AuditStatistics)
    spans: SpanStatistics = field(default_factory=SpanStatistics)


def _version(view: ProcessView) -> Iterator[Sample]:
    yield (__version__,), 1


def _reloads(view: ProcessView) -> Iterator[Sample]:
    yield ("ok",), view.status.reloads
    yield ("refused",), view.status.reloads_refused


def _expiries(view: ProcessView) -> Iterator[Sample]:
    for cluster, certificates in view.status.certificates.items():
        for one in dict.fromkeys(certificates):
            yield (cluster, one.file, one.name), one.not_after


def _audit_lines(view: ProcessView) -> Iterator[Sample]:
    yield ("written",), view.audit.written
    yield ("lost",), view.audit.lost


def _spans(view: ProcessView) -> Iterator[Sample]:
    for outcome, count in view.spans.by_outcome.items():
        yield (outcome,), count


TABLE: tuple[Metric[ProcessView], ...] = (
    Metric("shardproxy_info", GAUGE, "Always 1; says which version runs.", ("version",), _version),
    Metric(
        "shardproxy_config_reloads_total",
        COUNTER,
        "Reloads of the config, by outcome (ok, refused).",
        ("outcome",),
        _reloads,
    ),
    Metric(
        "shardproxy_certificate_expiry_timestamp_seconds",
        GAUGE,
        "When a certificate that is served or shown to nodes ends to be valid.",
        ("cluster", "file", "name"),
        _expiries,
    ),
    Metric(
        "shardproxy_audit_lines_total",
        COUNTER,
        "Lines of the audit log, by outcome (written, lost).",
        ("outcome",),
        _audit_lines,
    ),
    Metric(
        "shardproxy_spans_total",
        COUNTER,
        "Requests sampled for OpenTelemetry spans, by outcome (sent, failed, dropped).",
        ("outcome",),
        _spans,
    ),
)
