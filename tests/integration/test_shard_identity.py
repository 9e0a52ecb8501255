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


def test_a_shard_that_is_added_takes_no_slots_from_the_others(site: Site) -> None:
    site.serve(site.shard(0, name="users"), site.shard(1))
    served = site.slots_served()
    three = site.shard(2), site.shard(0, name="users"), site.shard(1)
    assert site.reload(*three) is None
    assert site.slots_served() == {**served, 2: []}
    (told,) = site.logged("slots are not as configured")
    assert (
        "shard 2 has no slots, as all of them have an owner: shardproxy scale main --shards 3" in told["why"]
    )
    assert site.lost() == []
    site.fill()
    assert site.nodes[2].ask("DBSIZE") == 0
    assert site.run_cli("check")[0] == 0
    site.proxy.restart()
    site.client = site._wire(site.proxy)
    site.wait_recorded(3)
    assert site.slots_served() == {**served, 2: []}
    assert site.lost() == []


def test_a_shard_may_be_ready_and_empty_from_the_start(site: Site) -> None:
    site.serve(site.shard(0), site.shard(1, slots="none"), site.shard(2))
    assert site.slots_served() == {0: ["0-8191"], 1: [], 2: ["8192-16383"]}
    assert site.lost() == []
    assert site.nodes[1].ask("DBSIZE") == 0
    assert len(site.client.ask("KEYS", "*")) == len(KEYS)
    status = {shard["shard"]: shard for shard in site.shards()}
    assert (status[1]["state"], status[1]["slots"], status[0]["slots"]) == ("ok", [], ["0-8191"])
    assert site.reload(site.shard(0), site.shard(2)) is None
    assert site.lost() == []


def test_slots_stay_where_they_are_whatever_a_config_says(site: Site) -> None:
    site.serve(site.shard(0), site.shard(1))
    served = site.slots_served()
    assert site.reload(site.shard(0, slots="0-99"), site.shard(1)) is None
    assert site.slots_served() == served
    (told,) = site.logged("slots are not as configured")
    assert "shard 0 has 0-8191, and the config says 0-99" in told["why"]
    assert "shardproxy reshard" in told["why"]
    assert site.lost() == []
    site.proxy.restart()
    site.client = site._wire(site.proxy)
    site.wait_recorded(2)
    assert site.slots_served() == served
    assert site.lost() == []


def test_a_shard_that_has_slots_cannot_leave(site: Site) -> None:
    site.serve(site.shard(0), site.shard(1), site.shard(2))
    without = site.shard(2), site.shard(0)
    address = site.nodes[1].address
    for _ in ("with keys", "without"):
        why = site.reload(*without)
        assert why is not None
        assert f"shard 1 ({address}), which the config does not have any more, has 54" in why[0]
        assert "put it back" in why[0]
        assert "shardproxy drain main 1" in why[0]
        site.nodes[1].ask("FLUSHALL")
    site.fill()
    assert site.lost() == []
    code, said = site.run_cli("check")
    assert code == 1
    assert "which the config does not have any more" in said
    site.proxy.stop()
    code, said = site.run_cli("run", "--config")
    assert code == 1
    assert "which the config does not have any more" in said
    assert "Traceback" not in said


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
    assert "put it back, under its name" in why[0]
    assert site.reload({**host, "name": "a"}, site.shard(1)) is None
    assert site.lost() == []
    why = site.reload(site.shard(2, name="a"), site.shard(1))
    assert why is not None
    assert "none of the nodes it would have instead" in why[0]
    assert site.lost() == []
