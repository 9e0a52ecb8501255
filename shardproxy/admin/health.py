"""Whether the proxy lives and is ready. Pure: takes what is known, gives reasons.

An engine that is down changes neither: else every sidecar of an application would be restarted at once.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

from shardproxy.dataplane.statistics import WorkerStatistics
from shardproxy.model import Topology

MAX_TURN_AGE = 10.0  # seconds; a worker turns at least once a second even when nothing happens


def why_not_live(workers: Sequence[WorkerStatistics]) -> Iterator[str]:
    """Say what is wrong with the workers; nothing when all of them turn."""
    for index, worker in enumerate(workers):
        if worker.age > MAX_TURN_AGE:
            yield f"worker {index} has not turned for {worker.age:.0f} s"
    if not workers:
        yield "there is no worker"


def why_not_ready(
    clusters: Iterable[str],
    board: Mapping[str, Topology],
    draining: bool,
    unknown: Container[str] = frozenset(),
) -> Iterator[str]:
    """Say what keeps traffic away; nothing once every cluster listens on a known topology.

    Of the clusters in `unknown` nothing was ever read from the store, which cannot be reached. A proxy that
    knows them stays ready while its store is down.
    """
    if draining:
        yield "draining"
    for name in clusters:
        if name not in board:
            yield f"cluster {name} is not served yet"
        elif not board[name].nodes:
            yield f"cluster {name} has no known nodes"
        elif name in unknown:
            yield (
                f"cluster {name}: the store was never reached, so its primaries are not known: see that what"
                " store: says is right, and that this host may connect to it"
            )
