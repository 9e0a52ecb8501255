"""The metrics of logins that are verified in the control plane, as a table. Knows nothing of HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from shardproxy.access.statistics import LoginStatistics
from shardproxy.admin.metrics import Labels, Sample


@dataclass(frozen=True, slots=True)
class LoginMetric:
    """One line of the table: a counter; `read` gives its samples."""

    name: str
    help: str
    labels: Labels
    read: Callable[[LoginStatistics], Iterable[Sample]]


def _by_cluster(pick: Callable[[LoginStatistics], Mapping[str, int]]) -> Callable[..., Iterable[Sample]]:
    def read(statistics: LoginStatistics) -> Iterator[Sample]:
        for cluster, count in pick(statistics).items():
            yield (cluster,), count

    return read


TABLE: tuple[LoginMetric, ...] = (
    LoginMetric(
        "shardproxy_verified_logins_total",
        "Logins that an IAM token or a verifier was good for.",
        ("cluster",),
        _by_cluster(lambda s: s.accepted),
    ),
    LoginMetric(
        "shardproxy_verified_logins_refused_total",
        "Logins that they were not good for, by reason.",
        ("cluster", "reason"),
        lambda s: s.refused.items(),
    ),
    LoginMetric(
        "shardproxy_verified_logins_throttled_total",
        "Of these, logins that were too many (as ElastiCache's IamAuthenticationThrottling).",
        ("cluster",),
        _by_cluster(lambda s: s.throttled),
    ),
    LoginMetric(
        "shardproxy_verifier_calls_total",
        "Questions to external verifiers.",
        ("cluster",),
        _by_cluster(lambda s: s.asked),
    ),
    LoginMetric(
        "shardproxy_verifier_failures_total",
        "Logins refused because the verifier had no usable answer in time.",
        ("cluster",),
        _by_cluster(lambda s: s.failed),
    ),
)


def metric_names() -> frozenset[str]:
    """Every series a scrape can show, as Prometheus names them."""
    return frozenset(metric.name for metric in TABLE)
