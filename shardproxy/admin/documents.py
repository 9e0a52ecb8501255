"""What /api answers, as plain JSON values. Holds no password: only what is named here is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shardproxy.admin.status import Status
from shardproxy.dataplane.statistics import ClusterStatistics, Statistics
from shardproxy.model import Node, Shard, Topology

MAX_CLIENTS = 1000  # a page of more is of no use to a reader; `total` says how many there are
MATCHED = ("id", "address", "name", "user", "command", "lib_name", "lib_version")


def topology_document(
    status: Status, board: Mapping[str, Topology], statistics: Statistics
) -> dict[str, Any]:
    """Show every configured cluster: its endpoints, shards and nodes."""
    return {
        "draining": status.draining,
        "clusters": {
            name: _cluster(name, status, board.get(name), statistics.clusters.get(name))
            for name in status.clusters
        },
    }


def clients_document(
    clients: tuple[Mapping[str, Any], ...], *, cluster: str | None = None, match: str = ""
) -> dict[str, Any]:
    """Show at most MAX_CLIENTS clients, of one cluster or all, that have this text in any of MATCHED."""
    wanted, total = match.casefold(), 0
    shown: list[dict[str, Any]] = []
    for client in clients:
        if cluster is not None and client.get("cluster") != cluster:
            continue
        plain = _client(client)
        if wanted and not any(wanted in str(plain.get(key, "")).casefold() for key in MATCHED):
            continue
        total += 1
        if len(shown) < MAX_CLIENTS:
            shown.append(plain)
    return {"total": total, "clients": shown}


def _cluster(
    name: str, status: Status, topology: Topology | None, statistics: ClusterStatistics | None
) -> dict[str, Any]:
    return {
        "engine": topology.engine.value if topology else None,
        "epoch": topology.epoch if topology else None,
        "clients": statistics.clients if statistics else 0,
        "endpoints": [str(endpoint.bound) for endpoint in status.endpoints.get(name, ())],
        "shards": [_shard(shard, statistics) for shard in topology.shards] if topology else [],
    }


def _shard(shard: Shard, statistics: ClusterStatistics | None) -> dict[str, Any]:
    return {
        "index": shard.number,
        "name": shard.name,
        "slots": [str(slots) for slots in shard.slots],
        "nodes": [_node(node, node == shard.primary, statistics) for node in shard.nodes],
    }


def _node(node: Node, primary: bool, statistics: ClusterStatistics | None) -> dict[str, Any]:
    counts = statistics.nodes.get(str(node.address)) if statistics else None
    return {
        "address": str(node.address),
        "role": "primary" if primary else "replica",
        "zone": node.zone,
        "connections": counts.connections if counts else 0,
    }


def _client(client: Mapping[str, Any]) -> dict[str, Any]:
    """Keep plain values only; bytes (a client's name) are shown as text."""
    return {
        key: value.decode(errors="replace") if isinstance(value, bytes) else value
        for key, value in client.items()
        if isinstance(value, str | int | float | bool | bytes | None)
    }
