"""Who shares a store, as each says of itself. Plain values; encoded for the store."""

from __future__ import annotations

import enum
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shardproxy.model import EndpointKind


def member_name(label: str) -> str:
    """A name that no other process has, whatever its label is."""
    return f"{label}-{secrets.token_hex(4)}"


@dataclass(frozen=True, slots=True, order=True)
class Advertised:
    """Where clients of a cluster reach a member."""

    kind: EndpointKind
    address: str  # host:port, as clients are to be told
    is_tls: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """One proxy process, from before it serves until nobody can be served by it any more.

    `name` is the process's own, `label` what its operator calls it. Counts are some seconds old.
    """

    name: str
    label: str = ""
    version: str = ""
    zone: str | None = None
    admin: str | None = None  # where its admin API is, as others may reach it
    started: str = ""  # ISO 8601; for people
    is_draining: bool = False
    clients: int = 0
    endpoints: Mapping[str, tuple[Advertised, ...]] = field(default_factory=dict)  # by cluster it serves
    epochs: Mapping[str, int] = field(default_factory=dict)  # by cluster: of the topology it serves
    automatic: frozenset[str] = frozenset()  # clusters that it fails over unasked when it leads them


class Finding(enum.Enum):
    """What a member finds of a primary that it asks again and again."""

    REACHES = "reaches"  # it answers, be it that it is busy
    EXPLAINED = "explained"  # it is silent, and was sent what takes so long
    SUSPECT = "suspect"  # it missed something, and is being looked at
    DENIED = "denied"  # it answers, and refuses this member
    DOWN = "down"


def serving_beside(own: str, cluster: str, members: Mapping[str, Member]) -> list[Member]:
    """All live members but one that serve a cluster; who drains still has clients."""
    return [member for name, member in sorted(members.items()) if name != own and cluster in member.endpoints]


@dataclass(frozen=True, slots=True)
class Vote:
    """What a member finds of a shard's primary; one that does not watch it says nothing."""

    primary: str  # address, as on record
    finding: Finding
    why: str = ""  # for people; nothing where all is well


def member_encode(member: Member) -> dict[str, Any]:
    """All of a member as plain JSON values."""
    return {
        "name": member.name,
        "label": member.label,
        "version": member.version,
        "zone": member.zone,
        "admin": member.admin,
        "started": member.started,
        "draining": member.is_draining,
        "clients": member.clients,
        "endpoints": {
            cluster: [[one.kind.value, one.address, one.is_tls] for one in every]
            for cluster, every in member.endpoints.items()
        },
        "epochs": dict(member.epochs),
        "automatic": sorted(member.automatic),
    }


def member_decode(values: Mapping[str, Any]) -> Member:
    """Raise ValueError when the values are not a member's."""
    try:
        return Member(
            name=str(values["name"]),
            label=str(values["label"]),
            version=str(values["version"]),
            zone=values["zone"],
            admin=values["admin"],
            started=str(values["started"]),
            is_draining=bool(values["draining"]),
            clients=int(values["clients"]),
            endpoints={
                str(cluster): tuple(
                    Advertised(EndpointKind(kind), str(address), bool(is_tls))
                    for kind, address, is_tls in every
                )
                for cluster, every in values["endpoints"].items()
            },
            epochs={str(cluster): int(epoch) for cluster, epoch in values["epochs"].items()},
            automatic=frozenset(map(str, values["automatic"])),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a member: {error!r}") from error
