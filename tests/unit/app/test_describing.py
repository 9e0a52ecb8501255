"""Where clients of other proxies are sent to reach this one."""

from __future__ import annotations

import pytest

from shardproxy.app.describing import endpoints_advertised, endpoints_said, own_host
from shardproxy.config import parse_config
from shardproxy.dataplane import BoundEndpoint
from shardproxy.model import Address

HOST = "10.0.0.9"


@pytest.mark.parametrize(
    ("endpoints", "expected"),
    [
        ('{configuration: "10.0.0.1:7000"}', ["configuration 10.0.0.1:7000"]),
        ('{configuration: "0.0.0.0:7000"}', ["configuration 10.0.0.9:7000"]),
        ('{configuration: "[::]:7000"}', ["configuration 10.0.0.9:7000"]),
        (
            '{configuration: {address: "0.0.0.0:7000", advertise: "cache.test:7"}, reader: "127.0.0.1:7002"}',
            ["configuration cache.test:7", "reader 127.0.0.1:7002"],
        ),
        ('{primary: ["unix:/run/a.sock", "127.0.0.1:0"]}', ["primary 127.0.0.1:4321"]),
        ('{primary: "unix:/run/a.sock"}', []),
    ],
)
def test_an_endpoint_is_advertised_as_others_reach_it(endpoints: str, expected: list[str]) -> None:
    config = parse_config(
        f"clusters: {{main: {{engine: redis, access: open, endpoints: {endpoints},"
        ' shards: [{nodes: ["10.1.1.1:6379"]}]}}'
    )
    bound = {"main": (BoundEndpoint(Address("127.0.0.1", 0), Address("127.0.0.1", 4321)),)}
    told = endpoints_advertised(config, bound, HOST)["main"]
    assert [f"{one.kind.value} {one.address}" for one in told] == expected
    assert not any(one.is_tls for one in told)


def test_a_pool_may_advertise_several() -> None:
    config = parse_config(
        'clusters: {pages: {engine: memcached, endpoints: {configuration: {address: "127.0.0.1:11211",'
        ' advertise: ["a.test:1", "b.test:1"]}}, nodes: ["10.1.1.1:11211"]}}'
    )
    told = endpoints_advertised(config, {}, HOST)["pages"]
    assert [one.address for one in told] == ["a.test:1", "b.test:1"]


def test_what_is_about_to_be_served_is_served_nowhere_yet() -> None:
    config = parse_config(
        'clusters: {pages: {engine: memcached, endpoints: {configuration: "127.0.0.1:11211"},'
        ' nodes: ["10.1.1.1:11211"]}}'
    )
    assert endpoints_said(config, {}, HOST, ["pages"]) == {"pages": ()}
    bound = {"pages": (BoundEndpoint(Address("127.0.0.1", 11211), Address("127.0.0.1", 11211)),)}
    said = endpoints_said(config, bound, HOST, ["more"])
    assert (said["more"], [one.address for one in said["pages"]]) == ((), ["127.0.0.1:11211"])


def test_this_machine_has_a_name_or_an_address() -> None:
    assert own_host() not in ("", "0.0.0.0", "::")
