"""The documents of /api as they are now, for one answer or for everybody who follows."""

from __future__ import annotations

from typing import Any

from shardproxy import __version__
from shardproxy.admin.documents import topology_document
from shardproxy.admin.failover import caching_add, events_document, relaxed_add, status_document
from shardproxy.admin.health import why_not_ready
from shardproxy.admin.job_document import jobs_document
from shardproxy.admin.sharing import clusters_unknown
from shardproxy.admin.status import Sources
from shardproxy.dataplane.statistics import Statistics


def topology_now(sources: Sources, statistics: Statistics) -> dict[str, Any]:
    return topology_document(sources.status.now, sources.topologies, statistics)


def status_now(sources: Sources, now: float, statistics: Statistics) -> dict[str, Any]:
    """`now`: trio time."""
    document = status_document(sources, now)
    caching_add(document, sources.caching, statistics)
    return relaxed_add(document, statistics)


def jobs_now(sources: Sources) -> dict[str, Any]:
    return jobs_document(sources.jobs.jobs())


def events_now(sources: Sources, count: int) -> dict[str, Any]:
    """The newest."""
    return events_document(tuple(sources.events.latest(count)), sources.setups)


def process_now(sources: Sources) -> dict[str, Any]:
    """This process: what it is, and what keeps it from being ready."""
    return {
        "version": __version__,
        "member": sources.sharing.member,
        "clusters": list(sources.status.now.clusters),
        "why_not_ready": not_ready_now(sources),
        "kinds_of_jobs": list(sources.jobs.kinds),
    }


def not_ready_now(sources: Sources) -> list[str]:
    """What keeps the proxy from being ready."""
    status = sources.status.now
    unknown = clusters_unknown(sources.sharing, sources.setups, sources.records)
    found = list(why_not_ready(status.clusters, sources.topologies, status.draining, unknown))
    if status.starting:
        found.append("starting: which nodes are primaries is not known yet")
        troubles = ((name, source.status.trouble) for name, source in sources.deciders.items())
        found += [f"cluster {name}: {trouble}" for name, trouble in troubles if trouble is not None]
    return found
