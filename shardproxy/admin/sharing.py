"""The proxies that share a store, as plain JSON values: what /api/status says of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shardproxy.admin.status import Sharing
from shardproxy.failover.setup import ShardSetup
from shardproxy.model.replication import ShardKey
from shardproxy.store.record import ShardRecord


def store_document(sharing: Sharing) -> dict[str, Any]:
    """Where proxies agree; out of touch with it, others may know of a change that this one does not."""
    return {
        "kind": sharing.kind,
        "is_synced": all(sharing.synced.values()),
        "synced": dict(sorted(sharing.synced.items())),
        "leaders": dict(sorted(sharing.leaders.items())),
    }


def proxies_document(sharing: Sharing) -> list[dict[str, Any]]:
    """Every live member by its name, as it says of itself; counts are some seconds old."""
    return [
        {
            "name": name,
            "label": member.label,
            "is_self": name == sharing.member,
            "version": member.version,
            "zone": member.zone,
            "admin": member.admin,
            "started": member.started,
            "is_draining": member.is_draining,
            "clients": member.clients,
            "leads": sorted(cluster for cluster, leader in sharing.leaders.items() if leader == name),
            "epochs": dict(sorted(member.epochs.items())),
            "endpoints": {
                cluster: [
                    {"kind": one.kind.value, "address": one.address, "is_tls": one.is_tls} for one in every
                ]
                for cluster, every in sorted(member.endpoints.items())
            },
        }
        for name, member in sorted(sharing.members.items())
    ]


def clusters_unknown(
    sharing: Sharing, setups: Mapping[ShardKey, ShardSetup], records: Mapping[ShardKey, ShardRecord]
) -> frozenset[str]:
    """The clusters with replication of which nothing was ever read, as the store cannot be reached."""
    known = {key.cluster for key in records}
    configured = {key.cluster for key in setups}
    out_of_touch = {name for name, is_synced in sharing.synced.items() if not is_synced}
    return frozenset(out_of_touch & configured - known)
