"""What a cluster of one shard does that several would refuse: told while there is time, and when it grows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import structlog
import trio

from shardproxy.config import RedisCluster
from shardproxy.dataplane.statistics import ClusterCounts, LibertyStatistics
from shardproxy.topology.reload import Clusters
from shardproxy.topology.taking import GROWN_TEXT

LOOKS = 60.0  # seconds between looks at what is new

log = structlog.get_logger()


async def run_growth_log(counted: Callable[[], Mapping[str, ClusterCounts]]) -> None:
    """Log every kind of command that needs one shard when it is first seen, until cancelled."""
    known: dict[str, set[str]] = {}
    while True:
        await trio.sleep(LOOKS)
        for cluster, counts in counted().items():
            told = known.setdefault(cluster, set())
            if news := {name: of for name, of in counts.relaxed.items() if name not in told}:
                told.update(news)
                log.info("served, but several shards would refuse it", cluster=cluster, **said(news))


def warn_of_growth(before: Clusters, now: Clusters, counted: Mapping[str, ClusterCounts]) -> None:
    """Log which clusters were one Redis to their clients before a reload, and are not any more."""
    for name in grown(before, now):
        counts = counted.get(name)
        relaxed = counts.relaxed if counts is not None else {}
        log.warning("the cluster is one Redis no more", cluster=name, why=GROWN_TEXT, **said(relaxed))


def grown(before: Clusters, now: Clusters) -> Iterator[str]:
    """The clusters that refuse what they served before."""
    for name in before.keys() & now.keys():
        pair = [c for c in (before[name].config, now[name].config) if isinstance(c, RedisCluster)]
        if [config.is_relaxed for config in pair] == [True, False]:
            yield name


def said(relaxed: Mapping[str, LibertyStatistics]) -> dict[str, object]:
    """Figures and examples for the log."""
    return {
        "commands": {name: of.count for name, of in relaxed.items()},
        "examples": [of.example for of in relaxed.values()],
    }
