"""What Auto Discovery tells, and under which version."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from shardproxy.config import parse_config
from shardproxy.dataplane.memcached import DiscoverySpec
from shardproxy.model import Address
from shardproxy.store.local import LocalStore
from shardproxy.topology import layout
from shardproxy.topology.layout import Layout, entries, layout_number, layout_tell
from shardproxy.topology.settings import settings_read

PROXY = '{address: "127.0.0.1:11211"}'
ADVERTISED = '{address: "127.0.0.1:11211", advertise: "127.0.0.9:11211"}'
TWO_ADVERTISED = '{address: "127.0.0.1:11211", advertise: ["127.0.0.9:11211", "127.0.0.8:11211"]}'
DIRECT = '{address: "127.0.0.1:11211", mode: direct}'
NODE, OTHER = '"127.0.0.1:11311"', '"127.0.0.1:11312"'
NOW = 1_800_000_000


async def tell(store: LocalStore, endpoint: str, *nodes: str) -> DiscoverySpec:
    config = parse_config(
        f"clusters: {{main: {{engine: memcached, endpoints: {{configuration: {endpoint}}},"
        f" nodes: [{', '.join(nodes)}]}}}}"
    )
    told = await layout_tell(settings_read(config, "7.0.15")["main"], config.topologies()[0], store)
    assert told is not None
    return told


async def test_the_version_rises_with_what_is_told_and_with_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    steps = [
        (PROXY, NODE),
        (DIRECT, NODE),
        (DIRECT, NODE, OTHER),
        (ADVERTISED, NODE),
        (TWO_ADVERTISED, NODE),
        (PROXY, NODE),
    ]
    last = 0
    for endpoint, *nodes in steps:
        with LocalStore(path) as store:  # each time the proxy was started anew
            told = await tell(store, endpoint, *nodes)
        assert told["version"] > last
        with LocalStore(path) as store:
            assert await tell(store, endpoint, *nodes) == told
        last = told["version"]
    with LocalStore(path) as store:
        assert (await tell(store, PROXY, NODE, OTHER))["version"] == last  # its own address is all it tells


async def test_every_advertised_proxy_is_told(tmp_path: Path) -> None:
    with LocalStore(tmp_path / "state.json") as store:
        one = await tell(store, ADVERTISED, NODE)
        two = await tell(store, TWO_ADVERTISED, NODE)
    assert one["nodes"] == [("127.0.0.9", "127.0.0.9", 11211)]
    assert two["nodes"] == [("127.0.0.8", "127.0.0.8", 11211), ("127.0.0.9", "127.0.0.9", 11211)]


def test_a_version_is_never_below_one_that_was_told() -> None:
    assert layout_number(None, "a", NOW) == Layout(NOW, "a")
    assert layout_number(Layout(NOW, "a"), "a", NOW + 9) == Layout(NOW, "a")
    assert layout_number(Layout(NOW, "a"), "b", NOW + 9) == Layout(NOW + 9, "b")
    assert layout_number(Layout(NOW, "a"), "b", NOW - 9) == Layout(NOW + 1, "b")


async def test_names_are_told_with_their_addresses(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    known = {
        "one.test": ("fd00::1", "10.0.0.2", "10.0.0.1"),
        "two.test": ("fd00::2",),
        "10.0.0.3": ("10.0.0.3",),
    }

    async def resolve(host: str) -> tuple[str, ...]:
        if host == "slow.test":
            await trio.sleep_forever()
        if host not in known:
            raise OSError("no such name")
        return known[host]

    monkeypatch.setattr(layout, "resolve", resolve)
    hosts = ["two.test", "one.test", "none.test", "slow.test", "10.0.0.3"]
    with trio.fail_after(5):
        found = await entries(Address(host, 1) for host in hosts)
    assert found == [
        ("10.0.0.3", "10.0.0.3", 1),
        ("none.test", "none.test", 1),
        ("one.test", "10.0.0.1", 1),
        ("slow.test", "slow.test", 1),
        ("two.test", "fd00::2", 1),
    ]
