"""The metrics of logins that are verified in the control plane, as a table. Knows nothing of HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from shardproxy.access.statistics import LoginStatistics
from shardproxy.admin.metric import COUNTER, Metric, Sample


def _by_cluster(pick: Callable[[LoginStatistics], Mapping[str, int]]) -> Callable[..., Iterable[Sample]]:
    def read(statistics: LoginStatistics) -> Iterator[Sample]:
        for cluster, count in pick(statistics).items():
            yield (cluster,), count

    return read


TABLE: tuple[Metric[LoginStatistics], ...] = (
    Metric(
        "shardproxy_verified_logins_total",
        COUNTER,
        "Logins that an IAM token or a verifier was good for.",
        ("cluster",),
        _by_cluster(lambda s: s.accepted),
    ),
    Metric(
        "shardproxy_verified_logins_refused_total",
        COUNTER,
        "Logins that they were not good for, by reason.",
        ("cluster", "reason"),
        lambda s: s.refused.items(),
    ),
    Metric(
        "shardproxy_verified_logins_throttled_total",
        COUNTER,
        "Of these, logins that were too many (as ElastiCache's IamAuthenticationThrottling).",
        ("cluster",),
        _by_cluster(lambda s: s.throttled),
    ),
    Metric(
        "shardproxy_verifier_calls_total",
        COUNTER,
        "Questions to external verifiers.",
        ("cluster",),
        _by_cluster(lambda s: s.asked),
    ),
    Metric(
        "shardproxy_verifier_failures_total",
        COUNTER,
        "Logins refused because the verifier had no usable answer in time.",
        ("cluster",),
        _by_cluster(lambda s: s.failed),
    ),
)
