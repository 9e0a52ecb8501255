"""Counts of what caching did, by cluster and rule. One writer each; read by metrics and status."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from shardproxy.model.times import Times

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds


@dataclass(slots=True)
class RuleStatistics:
    """One rule's counts since this process began."""

    reads: int = 0  # that found nothing in the cache
    shared: int = 0  # of these, who waited for what another one here had asked for
    loads: int = 0  # questions to the source that were answered
    missing: int = 0  # of these, that there is no row
    spared: int = 0  # reads of what was known to have no row
    cancelled: int = 0  # loads that came to nothing, as the key was written or deleted meanwhile
    failures: int = 0  # questions to the source that were not answered
    refused: int = 0  # reads and writes that were answered with an error
    waiting: int = 0  # reads that wait now
    stale: int = 0  # values found older than they should be, served, and refreshed
    refreshes: int = 0  # values loaded anew before or after their time
    writes: int = 0  # that the database has, or will have
    doubtful: int = 0  # writes of which it is not known whether the database has them
    drained: int = 0  # writes brought to the database later
    retried: int = 0  # batches that the database did not take, and will get again
    buried: int = 0  # writes that it refused: dead letters
    load_times: Times = field(default_factory=partial(Times, BOUNDS))
    write_times: Times = field(default_factory=partial(Times, BOUNDS))


@dataclass(slots=True)
class ClusterStatistics:
    """What is known of a cluster as a whole."""

    backlog: int = 0  # writes that the database does not have yet, when last looked at
    dead: int = 0  # dead letters, when last looked at


@dataclass(slots=True)
class CachingStatistics:
    """All clusters' counts; a rule is known by its pattern."""

    rules: dict[tuple[str, str], RuleStatistics] = field(default_factory=dict)
    clusters: dict[str, ClusterStatistics] = field(default_factory=dict)
    breakers: Callable[[], Mapping[tuple[str, str], bool]] = dict  # by cluster and source: is it left alone

    def rule(self, cluster: str, match: str) -> RuleStatistics:
        return self.rules.setdefault((cluster, match), RuleStatistics())

    def cluster(self, cluster: str) -> ClusterStatistics:
        return self.clusters.setdefault(cluster, ClusterStatistics())
