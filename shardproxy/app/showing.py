"""What the admin pages read, of all services. Loaded once clients can connect (late.py)."""

from __future__ import annotations

from shardproxy.admin.status import Sources
from shardproxy.app.insight import InsightDesk, InsightTools
from shardproxy.app.parts import Parts
from shardproxy.insight.interface import Insight
from shardproxy.insight.slow_desk import SlowDesk


def sources_of(parts: Parts) -> Sources:
    """Everything is read anew whenever somebody asks."""
    dataplane, follower, store = parts.dataplane, parts.follower, parts.store
    return Sources(
        parts.status,
        dataplane.statistics,
        dataplane.clients,
        follower.topologies,
        parts.inputs.setups,
        store.records,
        parts.boards,
        parts.coordination.events,
        parts.coordination.controls,
        store.notes,
        dataplane.down,
        store.statistics,
        parts.traffic.standing,
        parts.audit,
        parts.logging_in.verifiers.statistics,
        parts.coordination.sharing,
        parts.supervisor.sources,
        parts.moving.desk,
        parts.moving.statistics,
        parts.moving.scaled,
        parts.caching.statistics,
        parts.caching.dead_letters,
        _insight(parts),
        hot=dataplane.hot,
        big=dataplane.big,
        slow=SlowDesk(
            dataplane, lambda: parts.reloading.config.clusters, follower.topologies, parts.links.of
        ),
        spans=parts.spans,
        kill=dataplane.kill,
        config=lambda: parts.reloading.config,
        workers=dataplane.workers,
    )


def _insight(parts: Parts) -> Insight:
    """What tells operators why and how much."""
    return InsightDesk(
        InsightTools(
            parts.dataplane,
            parts.follower.clusters,
            parts.follower.topologies,
            parts.inputs.setups,
            parts.store.records,
            parts.boards,
            parts.follower.readable,
            parts.dataplane.down,
            parts.store.notes,
            parts.reloading.users.users,
            parts.follower.terms,
            parts.links.of,
        )
    )
