"""The proxies that share a store, as plain JSON values: what /api/status says of them."""

from __future__ import annotations

from typing import Any

from shardproxy.admin.status import Sources


def store_document(sources: Sources) -> dict[str, Any]:
    """Where proxies agree; out of touch with it, others may know of a change that this one does not."""
    sharing = sources.sharing
    return {
        "kind": sharing.kind,
        "is_synced": all(sharing.synced.values()),
        "synced": dict(sorted(sharing.synced.items())),
        "leaders": dict(sorted(sharing.leaders.items())),
    }


def proxies_document(sources: Sources) -> list[dict[str, Any]]:
    """Every live member by its name, as it says of itself; counts are some seconds old."""
    sharing = sources.sharing
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


def clusters_unknown(sources: Sources) -> frozenset[str]:
    """The clusters with replication of which nothing was ever read, as the store cannot be reached."""
    known = {key.cluster for key in sources.records}
    configured = {key.cluster for key in sources.setups}
    out_of_touch = {name for name, is_synced in sources.sharing.synced.items() if not is_synced}
    return frozenset(out_of_touch & configured - known)
