"""Tells the log which nodes of memcached pools are down. The data plane judges that, by how requests fare."""

from __future__ import annotations

import structlog

from shardproxy.model.board import Board
from shardproxy.model.health import NodeDown, PoolKey

log = structlog.get_logger()


async def run_pool_log(down: Board[PoolKey, NodeDown]) -> None:
    """Log every node that goes down, with the reason, and when it is so no more, until cancelled."""
    known: dict[PoolKey, NodeDown] = {}
    while True:
        seen, now = down.version, dict(down)
        for (cluster, node), state in now.items():
            if (cluster, node) not in known:
                log.warning("node down", cluster=cluster, node=str(node), why=state.reason)
        for cluster, node in known.keys() - now.keys():
            log.info("node down no more", cluster=cluster, node=str(node))
        known = now
        await down.wait_changed(seen)
