"""Nodes that are found: who they are, and when what was found before stays."""

from __future__ import annotations

from typing import Any

import pytest

from shardproxy.config import Config, ConfigError, MemcachedCluster, RedisCluster, parse_config
from shardproxy.config.discovery import ServiceNodes
from shardproxy.model import Address
from shardproxy.topology.discovery.found import Found, Kept, found_in_slices, places_of, with_found

SERVICE = ServiceNodes(service="redis-0", port=6379)
A, B, C = (Found(Address(f"10.0.0.{number}", 6379)) for number in (1, 2, 3))


def endpoint(address: str, **given: Any) -> dict[str, Any]:
    return {"addresses": [address], **given}


def test_a_pod_with_a_name_of_its_own_is_known_by_it() -> None:
    pods = [
        endpoint("10.0.0.2", hostname="redis-0-1", zone="b", targetRef={"kind": "Pod", "name": "redis-0-1"}),
        endpoint("10.0.0.1", hostname="redis-0-0", conditions={"ready": False}),
    ]
    assert found_in_slices([{"endpoints": pods[:1]}, {"endpoints": pods[1:]}], SERVICE, "cache") == (
        Found(Address("redis-0-0.redis-0.cache.svc", 6379)),
        Found(Address("redis-0-1.redis-0.cache.svc", 6379), "b", "redis-0-1"),
    )


def test_others_are_known_by_their_addresses_while_they_last() -> None:
    pods = [endpoint("10.0.0.1"), endpoint("10.0.0.2", conditions={"terminating": True})]
    assert found_in_slices([{"endpoints": pods}, {"endpoints": None}], SERVICE, "cache") == (A,)


@pytest.mark.parametrize("slices", [[{"endpoints": [{}]}], [None], [{"endpoints": [{"addresses": []}]}]])
def test_what_is_no_slice_is_said_to_be_none(slices: Any) -> None:
    with pytest.raises(ValueError, match="EndpointSlice"):
        found_in_slices(slices, SERVICE, "cache")


def test_what_is_new_counts_at_once_and_what_is_gone_stays_for_a_while() -> None:
    kept = Kept(60.0, 3)
    assert kept.take((A,), 0)
    assert kept.take((A, B), 1)
    assert not kept.take((B,), 30)
    assert kept.nodes == (A, B)
    assert kept.take((B,), 62)
    assert list(kept.nodes) == [B]


def test_an_answer_without_nodes_or_with_too_many_changes_nothing() -> None:
    kept = Kept(60.0, 2)
    kept.take((A, B), 0)
    for found in ((), (A, B, C)):
        assert not kept.take(found, 100)
        assert kept.nodes == (A, B)
        assert kept.why_not is not None


def test_who_is_gone_makes_room() -> None:
    kept = Kept(60.0, 2)
    kept.take((A, B), 0)
    assert kept.take((B, C), 1)
    assert kept.nodes == (B, C)


CONFIG = """
clusters:
  sessions:
    engine: redis
    endpoints: {configuration: 127.0.0.1:7000}
    shards: [{discover: {kubernetes: {service: redis-0, port: 6379}}}]
  pages:
    engine: memcached
    endpoints: {configuration: 127.0.0.1:7001}
    discover: {dns: {name: memcached, port: 11211}, keep: 2m}
"""


def addresses(config: Config) -> list[str]:
    return [str(node.address) for topology in config.topologies() for node in topology.nodes]


def test_a_config_has_the_nodes_that_were_found() -> None:
    config = parse_config(CONFIG)
    assert addresses(config) == ["redis-0:6379", "memcached:11211"]  # until they are found
    first, second = places_of(config)
    assert (places_of(config)[first], second.keep) == (6, 120.0)
    laid = with_found(config, {first: (A, B), second: (C,)})
    assert addresses(laid) == ["10.0.0.1:6379", "10.0.0.2:6379", "10.0.0.3:6379"]
    assert places_of(laid) == places_of(config)
    assert isinstance(laid.clusters["sessions"], RedisCluster)
    assert isinstance(laid.clusters["pages"], MemcachedCluster)


@pytest.mark.parametrize(
    "discover",
    [
        "{discover: {kubernetes: {service: a, port: 1}, dns: {name: a, port: 1}}}",
        "{discover: {}}",
        "{discover: {dns: {name: a, port: 1}}, nodes: ['10.0.0.1:1']}",
        "{discover: {dns: {name: a}}}",
        "{}",
    ],
)
def test_nodes_are_listed_or_found_in_one_place(discover: str) -> None:
    with pytest.raises(ConfigError):
        parse_config(CONFIG.replace("{discover: {kubernetes: {service: redis-0, port: 6379}}}", discover))
