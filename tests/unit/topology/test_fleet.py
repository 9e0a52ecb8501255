"""Who clients are told of, of the proxies that serve a cluster."""

from __future__ import annotations

from shardproxy.model import Address, EndpointKind
from shardproxy.store.member import Advertised, Member
from shardproxy.topology.fleet import peers_of, peers_told

CONFIGURATION, READER = EndpointKind.CONFIGURATION, EndpointKind.READER


def member(name: str, *endpoints: Advertised, is_draining: bool = False, zone: str | None = None) -> Member:
    return Member(name, zone=zone, is_draining=is_draining, endpoints={"main": endpoints})


A = member("a", Advertised(CONFIGURATION, "10.0.0.1:7000"), Advertised(READER, "10.0.0.1:7002"), zone="z1")
B = member("b", Advertised(CONFIGURATION, "10.0.0.2:7000"), Advertised(CONFIGURATION, "10.0.0.2:7443", True))
C = member("c", Advertised(CONFIGURATION, "10.0.0.3:7000"), is_draining=True)
OTHER = Member("d", endpoints={"other": (Advertised(CONFIGURATION, "10.0.0.4:7000"),)})
MEMBERS = {one.name: one for one in (C, B, A, OTHER)}


def test_every_proxy_tells_them_in_the_same_order() -> None:
    told = [peers_told(peers_of(MEMBERS, own, "main"), is_tls=False) for own in ("a", "b", "c")]
    assert [[str(peer.address) for peer in peers] for peers in told] == [
        ["10.0.0.1:7000", "10.0.0.2:7000"]
    ] * 3
    assert [peer.zone for peer in told[0]] == ["z1", None]
    assert [[peer.is_myself for peer in peers] for peers in told] == [
        [True, False],
        [False, True],
        [False, False],
    ]


def test_clients_that_speak_tls_are_told_of_where_it_is_spoken() -> None:
    assert [peer.address for peer in peers_told(peers_of(MEMBERS, "a", "main"), is_tls=True)] == [
        Address("10.0.0.2", 7443)
    ]


def test_one_process_is_told_of_once_however_many_addresses_it_has() -> None:
    twice = member(
        "e", Advertised(CONFIGURATION, "10.0.0.5:7000"), Advertised(CONFIGURATION, "10.0.0.6:7000")
    )
    assert [str(peer.address) for peer in peers_of({"e": twice}, "e", "main")] == ["10.0.0.5:7000"]


def test_who_serves_other_clusters_alone_is_none() -> None:
    assert peers_of({"d": OTHER}, "d", "main") == ()
