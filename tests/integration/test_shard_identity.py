"""A shard stays who it is, and keeps its slots, whatever happens to the list in the config."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from shardproxy.fleet import Fleet, RedisNode
from tests.fixtures.clients import Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Proxy, StartProxy, wait_until

KEYS = [f"key:{i}" for i in range(200)]


class Site:
    """Three engines, of which the config lists some, and a proxy."""

    def __init__(self, fleet: Fleet, start_proxy: StartProxy, wire: Callable[..., Wire], state: Path) -> None:
        self.fleet = fleet
        self.state = state
        self.nodes = [cast(RedisNode, shard.primary) for shard in fleet.shards]
        self._start_proxy = start_proxy
        self._wire = wire

    def serve(self, *shards: dict[str, Any]) -> None:
        """Start a proxy, and have every key in it."""
        self.proxy: Proxy = self._start_proxy(self.config(*shards))
        self.client = self._wire(self.proxy)
        self.wait_recorded(len(shards))
        self.fill()

    def shard(self, place: int, **options: Any) -> dict[str, Any]:
        return {"nodes": [str(self.nodes[place].address)], **options}

    def config(self, *shards: dict[str, Any]) -> dict[str, Any]:
        main = {"engine": "redis", "shards": list(shards)}
        return {"workers": 1, "state": str(self.state), "clusters": {"main": main}}

    def fill(self) -> None:
        assert self.client.ask("MSET", *(word for key in KEYS for word in (key, key))) == b"OK"

    def lost(self) -> list[str]:
        """The keys that are not found any more."""
        found = self.client.ask("MGET", *KEYS)
        return [key for key, value in zip(KEYS, found, strict=True) if value != key.encode()]

    def shards(self) -> list[dict[str, Any]]:
        return list(json.loads(self.proxy.get("/api/status")[1])["clusters"]["main"]["shards"])

    def numbers(self) -> dict[str, int]:
        """The number of each shard by the address of its first node."""
        return {shard["nodes"][0]["address"]: shard["shard"] for shard in self.shards()}

    def wait_recorded(self, count: int) -> None:
        """Wait until what is served is on record, too."""

        def is_recorded() -> bool:
            states = [shard["state"] for shard in self.shards()]
            return states == ["ok"] * count and self.slots_recorded() == self.slots_served()

        wait_until(is_recorded, lambda: f"every shard is on record\n{self.state.read_text()}")

    def slots_recorded(self) -> dict[int, list[str]]:
        numbers = {shard["shard"] for shard in self.shards()}
        records = json.loads(self.state.read_text())["shards"]
        return {
            record["shard"]: [f"{first}-{last}" for first, last in record["slots"]]
            for record in records
            if record["shard"] in numbers
        }

    def slots_served(self) -> dict[int, list[str]]:
        topology = json.loads(self.proxy.get("/api/topology")[1])["clusters"]["main"]
        return {shard["index"]: shard["slots"] for shard in topology["shards"]}

    def logged(self, event: str) -> list[dict[str, Any]]:
        whole, _, _ = self.proxy.log().rpartition("\n")  # the last line may be on its way
        lines = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def reload(self, *shards: dict[str, Any]) -> list[str] | None:
        """Reload; return why that was refused, or None."""
        count = len(self.logged("config refused, the old one stays")), len(self.logged("config reloaded"))
        self.proxy.reload(self.config(*shards))

        def outcome() -> list[list[str]]:
            refused = self.logged("config refused, the old one stays")[count[0] :]
            accepted = self.logged("config reloaded")[count[1] :]
            return [line["why"] for line in refused] + [[] for _ in accepted]

        why = wait_until(outcome, lambda: f"the reload has an outcome\n{self.proxy.log()}")[0]
        if not why:
            self.wait_recorded(len(shards))
        return why or None

    def run_cli(self, *words: str) -> tuple[int, str]:
        """Exit code and all that is said of a command about the config as it is now."""
        done = subprocess.run(
            (sys.executable, "-m", "shardproxy", *words, str(self.write())),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def write(self) -> Path:
        file = self.state.with_name("config.yaml")
        file.write_text(json.dumps(self.proxy.config))
        return file


@pytest.fixture
def site(start_fleet: StartFleet, start_proxy: StartProxy, wire: Callable[..., Wire], tmp_path: Path) -> Site:
    return Site(start_fleet(shards=3, replicas=0), start_proxy, wire, tmp_path / "state.json")


def test_a_shard_that_would_take_slots_is_refused_until_they_are_empty(site: Site) -> None:
    site.serve(site.shard(0, name="users"), site.shard(1))
    three = site.shard(0, name="users"), site.shard(1), site.shard(2)
    why = site.reload(*three)
    assert why is not None
    (text,) = why
    counts = [node.ask("DBSIZE") for node in site.nodes]
    assert sum(counts) == len(KEYS)
    assert f"shard users has {counts[0]} keys and would lose 2731 slots (5461-8191) to shard 1" in text
    assert f"shard 1 has {counts[1]} keys and would lose 5462 slots (10922-16383) to shard 2" in text
    assert f"leave out shard 2 ({site.nodes[2].address})" in text
    assert "shard users slots: 0-8191, shard 1 slots: 8192-16383" in text
    assert site.lost() == []
    code, said = site.run_cli("check")
    assert code == 1
    assert "shard users may have keys and would lose 2731 slots (5461-8191) to shard 1" in said
    site.proxy.stop()
    code, said = site.run_cli("run", "--config")
    assert code == 1
    assert f"shard users has {counts[0]} keys and would lose" in said
    assert "Traceback" not in said


def test_shards_without_keys_make_room_for_another(site: Site) -> None:
    site.serve(site.shard(0), site.shard(1))
    three = site.shard(2), site.shard(0), site.shard(1)
    assert site.reload(*three) is not None
    assert site.client.ask("FLUSHALL") == b"OK"
    assert site.reload(*three) is None
    site.fill()
    assert all(node.ask("DBSIZE") for node in site.nodes)
    assert site.numbers() == {str(node.address): number for number, node in enumerate(site.nodes)}
    site.proxy.restart()
    site.client = site._wire(site.proxy)
    assert site.lost() == []


def test_a_shard_that_left_takes_no_keys_with_it(site: Site) -> None:
    site.serve(site.shard(0), site.shard(1), site.shard(2))
    without = site.shard(2), site.shard(0)
    why = site.reload(*without)
    assert why is not None
    address = site.nodes[1].address
    assert f"shard 1 ({address}), which the config does not have any more, has " in why[0]
    assert "put shard 1 back" in why[0]
    assert site.lost() == []
    site.nodes[1].ask("FLUSHALL")
    lost = site.lost()
    assert site.reload(*without) is None
    assert site.lost() == lost
    assert site.numbers() == {str(site.nodes[0].address): 0, str(site.nodes[2].address): 2}
    site.nodes[1].kill()  # nobody has to ask it any more
    site.proxy.restart()
    site.client = site._wire(site.proxy)
    assert site.lost() == lost
    site.fill()
    assert site.lost() == []


def test_other_orders_names_and_nodes_take_no_keys(site: Site) -> None:
    site.serve(site.shard(0, name="a"), site.shard(1), site.shard(2))
    numbers = site.numbers()
    for shards in (
        (site.shard(2), site.shard(0, name="a"), site.shard(1)),  # another order
        (site.shard(1, name="a"), site.shard(2, name="c"), site.shard(0)),  # a name exchanged, one given
        (site.shard(2, name="d"), site.shard(1), site.shard(0)),  # one changed, one taken away
    ):
        assert site.reload(*shards) is None
        assert site.lost() == []
        assert site.numbers() == numbers
        names = {shard["nodes"][0]["address"]: shard["name"] for shard in site.shards()}
        assert names == {shard["nodes"][0]: shard.get("name") for shard in shards}
    replica = site.fleet.open_node(replica_of=site.nodes[1])
    nodes = [str(replica.address), str(site.nodes[1].address)]
    assert site.reload(site.shard(2), {"nodes": nodes}, site.shard(0)) is None
    wait_until(lambda: len(site.shards()[1]["nodes"]) == 2, "the replica belongs to shard 1")
    assert site.lost() == []
    site.proxy.restart()
    site.client = site._wire(site.proxy)
    assert site.lost() == []


def test_a_shard_keeps_its_keys_when_only_its_addresses_change(site: Site) -> None:
    site.serve(site.shard(0, name="a"), site.shard(1))
    host = {"nodes": [f"localhost:{site.nodes[0].address.port}"]}
    why = site.reload(host, site.shard(1))
    assert why is not None
    assert "put shard a back, under its name" in why[0]
    assert site.reload({**host, "name": "a"}, site.shard(1)) is None
    assert site.lost() == []
    why = site.reload(site.shard(2, name="a"), site.shard(1))
    assert why is not None
    assert "none of the nodes it would have instead" in why[0]
    assert site.lost() == []
