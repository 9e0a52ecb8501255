"""What is said of requests, against what the proxy then does with them; and a scan of real engines.

One fleet of three shards with a replica each, in two zones, for all that only looks.
"""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import time
import urllib.request
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import pytest
import redis
from redis.exceptions import ResponseError

from shardproxy.fleet import Fleet, RedisNode
from shardproxy.model import Address, Engine
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Config, Proxy, StartProxy, cluster_of, executable, wait_until

ZONES = ("a", "b")
RULES = "+@all -config ~app:* ~user:*"


@pytest.fixture(scope="module")
def site(start_fleet_for_module: StartFleet, start_proxy_for_module: StartProxy) -> tuple[Fleet, Proxy]:
    fleet = start_fleet_for_module(shards=3, replicas=1)
    other = start_fleet_for_module(shards=2, replicas=1)
    pages = start_fleet_for_module(2, 0, Engine.MEMCACHED)
    base = with_zones(cluster_of(fleet, failover={"enabled": False}))
    plain = cluster_of(other, failover={"enabled": False})
    families = [{"match": "bull:{queue}:*", "hash": "{queue}"}]
    nearest = {**base, "reads": {"from": "nearest"}, "key_families": families}
    users = [
        {"name": "default", "nopass": True, "rules": "+@all ~* &*"},
        {"name": "app", "nopass": True, "rules": RULES},
    ]
    primary = {
        **plain,
        "access": {"users": users},
        "commands": {"deny": ["keys"], "rename": {"flushall": "wipe"}},
    }
    clusters = {"main": nearest, "strict": primary, "pages": cluster_of(pages)}
    proxy = start_proxy_for_module({"workers": 1, "zone": "b", "clusters": clusters})
    wait_until(lambda: readable(proxy) == 5, "every replica is fit to be read from", timeout=30)
    return fleet, proxy


def with_zones(cluster: Config) -> Config:
    """The nodes of each shard in zones a and b."""
    shards = []
    for shard in cluster["shards"]:
        nodes = [
            {**(node if isinstance(node, dict) else {"address": node}), "zone": zone}
            for node, zone in zip(shard["nodes"], ZONES, strict=True)
        ]
        shards.append({**shard, "nodes": nodes})
    return {**cluster, "shards": shards}


def readable(proxy: Proxy) -> int:
    clusters = json.loads(proxy.get("/api/status")[1])["clusters"].values()
    nodes = [node for cluster in clusters for shard in cluster["shards"] for node in shard["nodes"]]
    return sum(node["is_readable"] for node in nodes)


def explained(proxy: Proxy, cluster: str, *args: str, **query: str) -> dict[str, Any]:
    asked = urlencode([("cluster", cluster), *(("arg", arg) for arg in args), *query.items()])
    status, text = proxy.get(f"/api/explain?{asked}")
    assert status == 200, text
    said: dict[str, Any] = json.loads(text)
    return said


def client(proxy: Proxy, cluster: str, kind: str = "configuration", user: str | None = None) -> redis.Redis:
    at = proxy.address(kind, cluster)
    return redis.Redis(at.host, at.port, username=user, password="x" if user else None, decode_responses=True)


COMPARED = ("get", "set", "mget", "del", "hgetall", "sort")


def calls_of(node: str) -> int:
    """How often a node ran what is compared, by its own count."""
    at = Address.parse(node)
    with redis.Redis(at.host, at.port) as asked:
        stats: dict[str, dict[str, int]] = asked.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in COMPARED)


SERVED = [
    ("main", "configuration", ("GET", "far:1")),
    ("main", "primary", ("GET", "far:1")),
    ("main", "reader", ("GET", "far:2")),
    ("main", "configuration", ("SET", "written:1", "x")),
    ("main", "configuration", ("SORT", "bull:q1:wait")),
    ("main", "configuration", ("MGET", "{t}a", "{t}b")),
    ("strict", "configuration", ("GET", "far:3")),
    ("strict", "reader", ("HGETALL", "far:{x}4")),
    ("strict", "primary", ("DEL", "gone:1")),
]


@pytest.mark.parametrize(("cluster", "endpoint", "words"), SERVED)
def test_who_is_said_to_serve_it_does(
    site: tuple[Fleet, Proxy], cluster: str, endpoint: str, words: tuple[str, ...]
) -> None:
    _, proxy = site
    said = explained(proxy, cluster, *words, endpoint=endpoint)
    assert said["outcome"] == "served"
    (part,) = said["parts"]
    nodes = [node["address"] for node in part["nodes"]]
    before = [calls_of(node) for node in nodes]
    with client(proxy, cluster, endpoint) as connected:
        connected.execute_command(*words)
    did = [node for node, count in zip(nodes, before, strict=True) if calls_of(node) > count]
    candidates = part["candidates"]
    assert set(did) & set(candidates), (did, candidates)
    if "SET" not in words and "DEL" not in words:  # these reach replicas by replication
        assert len(did) == 1


REFUSED = [
    ("main", "configuration", None, ("MSETNX", "a", "1", "b", "2")),
    ("main", "configuration", None, ("SINTER", "a", "b")),
    ("main", "reader", None, ("SET", "a", "1")),
    ("main", "configuration", None, ("GET", "a", "b")),
    ("main", "configuration", None, ("CONFIG", "SET", "maxmemory", "1")),
    ("main", "configuration", None, ("SHUTDOWN",)),
    ("strict", "configuration", None, ("KEYS", "*")),
    ("strict", "configuration", "app", ("GET", "other:1")),
    ("strict", "configuration", "app", ("CONFIG", "GET", "save")),
]


@pytest.mark.parametrize(("cluster", "endpoint", "user", "words"), REFUSED)
def test_what_is_said_to_be_refused_is_in_those_words(
    site: tuple[Fleet, Proxy], cluster: str, endpoint: str, user: str | None, words: tuple[str, ...]
) -> None:
    _, proxy = site
    query = {"endpoint": endpoint, **({"user": user} if user else {})}
    said = explained(proxy, cluster, *words, **query)
    assert said["outcome"] == "refused"
    with client(proxy, cluster, endpoint, user) as connected, pytest.raises(ResponseError) as caught:
        connected.execute_command(*words)
    heard = str(caught.value)
    text = said["text"]
    code = text.partition(" ")[0]  # redis-py takes away what it knows
    assert heard in (text, text.removeprefix(f"{code} ")), text


def test_slots_families_and_renamed_commands_are_told(site: tuple[Fleet, Proxy]) -> None:
    _, proxy = site
    (key,) = explained(proxy, "main", "LLEN", "bull:q1:wait")["keys"]
    assert (key["family"], key["tag"]) == ("bull:{queue}:* by {queue}", None)
    with client(proxy, "main") as connected:
        assert connected.execute_command("CLUSTER", "KEYSLOT", "bull:q1:wait") == key["slot"]
    (key,) = explained(proxy, "main", "GET", "far:{x}4")["keys"]
    assert (key["family"], key["tag"]) == (None, "x")
    assert explained(proxy, "strict", "WIPE")["command"]["name"] == "flushall"
    assert explained(proxy, "strict", "FLUSHALL")["command"]["is_known"] is False
    split = explained(proxy, "main", "MGET", *map(str, range(20)))
    assert len(split["parts"]) == 3
    assert explained(proxy, "pages", "get", "k")["parts"][0]["candidates"]


def test_what_cannot_be_explained_is_said(site: tuple[Fleet, Proxy]) -> None:
    _, proxy = site
    status, text = proxy.get("/api/explain?cluster=nope&arg=GET")
    assert (status, "main" in text) == (404, True)
    assert proxy.get("/api/explain?cluster=main")[0] == 400
    assert proxy.get("/api/explain?cluster=main&arg=GET&arg=a&endpoint=x")[0] == 400
    assert proxy.get("/api/explain?cluster=strict&arg=GET&arg=a&user=nobody")[0] == 404


def test_who_is_said_to_be_promoted_is(start_fleet: StartFleet, start_proxy: StartProxy) -> None:
    fleet = start_fleet(shards=1, replicas=2)
    proxy = start_proxy({"workers": 1, "clusters": {"main": cluster_of(fleet)}})
    (primary, *_) = fleet.shards[0].nodes

    def promised() -> str | None:
        (without,) = explained(proxy, "main", "SET", "a", "1")["without_primary"]
        found: str | None = without["promoted"]
        return found

    wait_until(lambda: status_of(proxy).count("streaming") == 2, "both replicas follow")
    assert isinstance(primary, RedisNode)
    lagging = fleet.shards[0].nodes[1]
    lagging.freeze()  # it gets none of what is written now, and does not answer
    with client(proxy, "main") as connected:
        connected.set("a", "1")
    other = str(fleet.shards[0].nodes[2].address)
    wait_until(lambda: promised() == other, "the one that answers could take over", timeout=30)
    primary.kill()
    wait_until(lambda: primary_of(proxy) not in (None, str(primary.address)), "another primary", timeout=30)
    assert primary_of(proxy) == other
    lagging.thaw()


def status_of(proxy: Proxy) -> str:
    return proxy.get("/api/status")[1]


def primary_of(proxy: Proxy) -> str | None:
    (shard,) = json.loads(status_of(proxy))["clusters"]["main"]["shards"]
    return next((node["address"] for node in shard["nodes"] if node["role"] == "primary"), None)


# --- large keys ---


def scan(proxy: Proxy, **query: object) -> list[dict[str, Any]]:
    status, text = proxy.get(f"/api/bigkeys/scan?{urlencode({'cluster': 'main', **query})}")
    assert status == 200, text
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def filled(site: tuple[Fleet, Proxy]) -> tuple[Fleet, Proxy]:
    fleet, proxy = site
    with client(proxy, "main") as connected:
        pipe = connected.pipeline(transaction=False)
        for number in range(600):
            pipe.set(f"s:{number}", "x" * (number % 7))
        pipe.set("large", "x" * 50_000)
        pipe.hset("h", mapping={str(n): n for n in range(200)})
        pipe.rpush("l", *range(40))
        pipe.sadd("set", *range(30))
        pipe.zadd("z", {str(n): n for n in range(20)})
        pipe.xadd("x", {"a": 1})
        pipe.execute()
        connected.wait(1, 5000)
    wait_until(lambda: sum(keys_of(fleet, 1)) == sum(keys_of(fleet, 0)) >= 606, "replicas have it all")
    return fleet, proxy


def keys_of(fleet: Fleet, place: int) -> list[int]:
    return [int(ask(shard.nodes[place], "DBSIZE")) for shard in fleet.shards]


def scans_of(fleet: Fleet) -> list[int]:
    """Whether each primary was ever scanned."""
    return [ask(shard.nodes[0], "INFO", "commandstats").count(b"cmdstat_scan") for shard in fleet.shards]


def ask(node: object, *words: str) -> Any:
    assert isinstance(node, RedisNode)
    return node.ask(*words)


def test_a_scan_finds_the_largest_of_each_type_on_replicas(filled: tuple[Fleet, Proxy]) -> None:
    fleet, proxy = filled
    before = scans_of(fleet)
    lines = scan(proxy, rate=1_000_000, limit=2, samples=1000)
    found = {line["type"]: line["keys"] for line in lines if "type" in line}
    assert {kind: (keys[0]["key"], keys[0]["elements"]) for kind, keys in found.items()} == {
        "string": ("large", 50_000),
        "hash": ("h", 200),
        "list": ("l", 40),
        "set": ("set", 30),
        "zset": ("z", 20),
        "stream": ("x", 1),
    }
    assert all(key["bytes"] > 0 for keys in found.values() for key in keys)
    assert max(len(keys) for keys in found.values()) == 2
    assert lines[-1]["ended"] is True
    assert lines[-1]["scanned"] == sum(keys_of(fleet, 0))
    progress = [line["progress"] for line in lines if "progress" in line]
    assert [one["shard"] for one in progress[:1]] == [0]
    assert {one["of"] for one in progress} == {lines[-1]["scanned"]}
    after = scans_of(fleet)
    assert after == before, "primaries were left alone"


def test_one_scan_at_a_time_and_it_ends_with_its_client(filled: tuple[Fleet, Proxy]) -> None:
    _, proxy = filled
    url = f"{proxy.admin}/api/bigkeys/scan?cluster=main&rate=1"
    with urllib.request.urlopen(url, timeout=10) as response:
        assert json.loads(response.readline())["progress"]["scanned"] == 0
        status, text = proxy.get("/api/bigkeys/scan?cluster=main")
        assert status == 409
        assert "scanned already" in text
    wait_until(
        lambda: proxy.get("/api/bigkeys/scan?cluster=main&rate=1000000")[0] == 200,
        "who has gone scans no more",
        interval=0.2,
    )


def test_what_cannot_be_scanned_is_said(site: tuple[Fleet, Proxy]) -> None:
    _, proxy = site
    status, text = proxy.get("/api/bigkeys/scan?cluster=pages")
    assert (status, "memcached has no SCAN" in text) == (400, True)
    assert proxy.get("/api/bigkeys/scan?cluster=nope")[0] == 404
    for wrong in ("rate=0", "samples=0"):
        assert proxy.get(f"/api/bigkeys/scan?cluster=main&{wrong}")[0] == 400


# --- figures ---


def test_figures_are_those_of_the_engines(filled: tuple[Fleet, Proxy]) -> None:
    fleet, proxy = filled
    status, text = proxy.get("/api/usage?cluster=main&sample=1000")
    assert status == 200, text
    shards = json.loads(text)["clusters"]["main"]["shards"]
    assert [shard["keys"] for shard in shards] == keys_of(fleet, 0)
    assert [shard["sample"]["keys"] for shard in shards] == keys_of(fleet, 0)
    assert all(shard["used"] > shard["startup"] > 0 for shard in shards)
    assert [shard["zones"] for shard in shards] == [["a", "b"]] * 3


def test_advice_is_given_for_all_clusters(site: tuple[Fleet, Proxy]) -> None:
    _, proxy = site
    found = json.loads(proxy.get("/api/advice")[1])["clusters"]
    assert set(found) == {"main", "strict", "pages"}
    assert proxy.get("/api/advice?cluster=nope")[0] == 404


# --- the terminal ---


def run(proxy: Proxy, *words: str) -> str:
    command = (str(executable("shardproxy")), *words, "--admin", str(proxy.config["admin"]))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_top_is_printed_once_where_there_is_no_terminal(site: tuple[Fleet, Proxy]) -> None:
    said = run(site[1], "top")
    for part in ("main", "strict", "pages", "p99.9", "streaming", "PrimaryAdopted"):
        assert part in said, part


def test_status_is_watched_line_by_line(site: tuple[Fleet, Proxy]) -> None:
    _, proxy = site
    command = [str(executable("shardproxy")), "status", "--watch", "0.1", "--output", "json"]
    watched = subprocess.Popen(
        [*command, "--admin", str(proxy.config["admin"])], stdout=subprocess.PIPE, text=True
    )
    try:
        assert watched.stdout is not None
        for _ in range(3):
            assert set(json.loads(watched.stdout.readline())["clusters"]) == {"main", "strict", "pages"}
    finally:
        watched.terminate()
        watched.communicate(timeout=30)


@pytest.mark.parametrize("words", [("top",), ("status", "--watch", "0.2"), ("events", "--watch")])
def test_a_screen_is_drawn_until_q(site: tuple[Fleet, Proxy], words: tuple[str, ...]) -> None:
    _, proxy = site
    pid, terminal = pty.fork()
    if pid == 0:
        command = (str(executable("shardproxy")), *words, "--admin", str(proxy.config["admin"]))
        os.execve(command[0], command, {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"})
    try:
        drawn = read_until(terminal, b"\x1b[?1049h", b"main")
        assert b"main" in drawn
        os.write(terminal, b"q")
        read_until(terminal, b"\x1b[?1049l")
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
    finally:
        with suppress(OSError):
            os.close(terminal)


def read_until(terminal: int, *wanted: bytes, timeout: float = 30.0) -> bytes:
    """What a program draws until it has drawn all of that."""
    drawn, deadline = b"", time.monotonic() + timeout
    while not all(part in drawn for part in wanted):
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, drawn
        try:
            drawn += os.read(terminal, 1 << 16)
        except OSError:  # it has ended
            break
    return drawn
