"""The proxies that serve a cluster, as its clients are told of them. Pure.

    members (what each says of itself) ─> peers ─> CLUSTER SLOTS and its like; Auto Discovery

Who drains is told of no more, first of all: clients go elsewhere while they are still served here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shardproxy.model import Address, EndpointKind
from shardproxy.store.member import Advertised, Member


@dataclass(frozen=True, slots=True)
class Peer:
    """One live proxy, at its configuration endpoint."""

    name: str
    address: Address
    zone: str | None = None
    is_tls: bool = False
    is_myself: bool = False
    is_draining: bool = False


Peers = tuple[Peer, ...]


def peers_of(members: Mapping[str, Member], own: str, cluster: str) -> Peers:
    """The proxies that serve the cluster, in the order that each of them tells; one with two kinds is two."""
    return tuple(
        Peer(name, Address.parse(one.address), member.zone, one.is_tls, name == own, member.is_draining)
        for name, member in sorted(members.items())
        for one in _first_of_each(member, cluster)
    )


def _first_of_each(member: Member, cluster: str) -> tuple[Advertised, ...]:
    """Its plain address and its TLS one: the first of either, as more of them are the same process."""
    found = {
        one.is_tls: one
        for one in reversed(member.endpoints.get(cluster, ()))
        if one.kind is EndpointKind.CONFIGURATION
    }
    return tuple(found[is_tls] for is_tls in sorted(found))


def peers_told(peers: Peers, *, is_tls: bool) -> Peers:
    """Those that a client which speaks TLS, or does not, is to know of."""
    return tuple(peer for peer in peers if peer.is_tls == is_tls and not peer.is_draining)
