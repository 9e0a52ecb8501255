"""Who is admitted from where: names of groups resolved, and single addresses judged."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardproxy.access.inbound import Inbound
from shardproxy.config import Config, parse_config
from shardproxy.config.inbound import MAX_SOURCES, Network, networks
from shardproxy.model import EndpointKind

CONFIG = """
security_groups:
{groups}
clusters:
  main:
    engine: redis
    endpoints: {{configuration: 127.0.0.1:7000}}
    shards: [{{nodes: ["127.0.0.1:6379"]}}]
"""


def config(*groups: str) -> Config:
    return parse_config(CONFIG.format(groups="\n".join(f"  - {{{group}}}" for group in groups)))


def texts(found: tuple[Network, ...]) -> list[str]:
    return [str(network) for network in found]


def test_a_group_stands_for_what_its_rules_name_however_deep() -> None:
    made = config(
        'name: office, inbound: [{from: ["group:sites", 192.0.2.7]}]',
        'name: sites, inbound: [{from: "group:pods", endpoints: reader}, {from: 10.0.0.0/9}]',
        'name: pods, inbound: [{from: [10.128.0.0/9, "fd00::/8"]}]',
    )
    (rule,) = made.inbound(["office"])
    assert (texts(rule.networks), rule.endpoints) == (["10.0.0.0/8", "192.0.2.7/32", "fd00::/8"], None)
    sites = {rule.endpoints: texts(rule.networks) for rule in made.inbound(["sites"])}
    assert sites == {
        None: ["10.0.0.0/9"],
        frozenset({EndpointKind.READER}): ["10.128.0.0/9", "fd00::/8"],
    }


def test_groups_admit_what_any_of_them_does_and_an_empty_one_nothing() -> None:
    made = config("name: one, inbound: [{from: 10.0.0.1}]", "name: none, inbound: []")
    assert [texts(rule.networks) for rule in made.inbound(["none", "one"])] == [["10.0.0.1/32"]]
    assert made.inbound(["none"]) == ()
    assert not Inbound.of_admin(()).is_admitted("10.0.0.1")


def test_a_chain_of_all_groups_is_resolved() -> None:
    chain = [f'name: g{n}, inbound: [{{from: ["group:g{n + 1}", 10.0.0.{n}]}}]' for n in range(99)]
    made = config(*chain, "name: g99, inbound: [{from: 192.0.2.1}]")
    (rule,) = made.inbound(["g0"])
    assert sum(network.num_addresses for network in rule.networks) == 100


def test_rules_about_endpoints_say_nothing_about_the_admin_api() -> None:
    made = config("name: one, inbound: [{from: 10.0.0.1, endpoints: [primary]}, {from: 10.0.0.2}]")
    admin = Inbound.of_admin(made.inbound(["one"]))
    assert [admin.is_admitted(f"10.0.0.{n}") for n in (1, 2)] == [False, True]


@pytest.mark.parametrize(
    ("peer", "is_admitted"),
    [
        ("", True),  # a unix socket
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("11.1.2.3", False),
        ("::ffff:11.1.2.3", False),
        ("fd00::1", True),
        ("fd00::1%eth0", True),
        ("fe00::1", False),
        ("::10.1.2.3", False),  # IPv6 after all
        ("100.64.0.1", True),
        ("localhost", False),
    ],
)
def test_addresses(peer: str, is_admitted: bool) -> None:
    made = config('name: one, inbound: [{from: [10.0.0.0/8, "fd00::/8", "::ffff:100.64.0.0/106"]}]')
    assert Inbound.of_admin(made.inbound(["one"])).is_admitted(peer) is is_admitted


def test_all_of_ipv6_is_nothing_of_ipv4() -> None:
    everybody = Inbound.of([ipaddress.ip_network("::/0")])
    assert everybody.is_admitted("2001:db8::1")
    assert not everybody.is_admitted("::ffff:10.0.0.1")


some_networks = st.lists(
    st.one_of(
        st.builds(
            lambda a, p: ipaddress.IPv4Network((a << 24, p), strict=False),
            st.integers(0, 7),
            st.integers(0, 32),
        ),
        st.builds(
            lambda a, p: ipaddress.IPv6Network((a, p), strict=False),
            st.integers(0, 63),
            st.integers(118, 128),
        ),
    ),
    max_size=8,
)
some_addresses = st.one_of(
    st.builds(lambda a, b: ipaddress.IPv4Address((a << 24) + b), st.integers(0, 8), st.integers(0, 3)),
    st.builds(ipaddress.IPv6Address, st.integers(0, 70)),
)


@given(some_networks, st.lists(some_addresses, max_size=20))
def test_an_address_is_in_the_ranges_if_it_is_in_a_network(
    given_networks: list[Network], addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address]
) -> None:
    inbound = Inbound.of(given_networks)
    resolved = Inbound.of(networks((), given_networks))
    for address in addresses:
        is_in = any(address in network for network in given_networks)
        assert inbound.is_admitted(str(address)) is is_in
        assert resolved.is_admitted(str(address)) is is_in


def test_there_may_be_as_many_sources_as_the_data_plane_takes() -> None:
    half = [f"10.{n // 250}.{n % 250}.1" for n in range(MAX_SOURCES // 2)]
    rule = f"inbound: [{{from: [{', '.join(half)}]}}]"
    assert len(config(f"name: a, {rule}", f"name: b, {rule}").inbound(["a", "b"])[0].networks) == len(half)
