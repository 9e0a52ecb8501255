"""The three endpoints, and what clients are told of the cluster, against real primaries and replicas."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from redis.cluster import RedisCluster

from shardproxy.fleet import Fleet, RedisNode, free_port
from shardproxy.model import Address
from tests.fixtures.clients import Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Proxy, StartProxy, config_of, wait_until

Open = Callable[..., Wire]
READONLY = "READONLY You can't write against a read only replica."
KEYS = [f"key-{n}" for n in range(60)]


@pytest.fixture(scope="module")
def replicated(start_fleet_for_module: StartFleet) -> Fleet:
    """Two shards of three nodes each. Nobody ends its nodes."""
    return start_fleet_for_module(shards=2, replicas=2)


def nodes(fleet: Fleet) -> list[RedisNode]:
    return [node for node in fleet.nodes if isinstance(node, RedisNode)]


def fill(fleet: Fleet) -> None:
    """Put every key on every node, past the proxy: what it has just written it reads from primaries."""
    for shard in fleet.shards:
        assert isinstance(shard.primary, RedisNode)
        shard.primary.ask("FLUSHALL")
        for key in KEYS:
            shard.primary.ask("SET", key, "x")
    for node in nodes(fleet):
        wait_until(lambda node=node: node.ask("DBSIZE") == len(KEYS), f"{node} has every key")  # type: ignore[misc]
        node.ask("CONFIG", "RESETSTAT")


def gets(node: RedisNode) -> int:
    """How many GETs the node has answered since the keys were written."""
    info = node.ask("INFO", "commandstats").decode()
    lines = [line for line in info.splitlines() if line.startswith("cmdstat_get:")]
    return int(lines[0].split("calls=")[1].split(",")[0]) if lines else 0


def by_role(fleet: Fleet) -> tuple[list[int], list[int]]:
    """GETs answered by each primary and by each replica."""
    primaries = [gets(shard.primary) for shard in fleet.shards]  # type: ignore[arg-type]
    return primaries, [gets(node) for shard in fleet.shards for node in shard.replicas]  # type: ignore[arg-type]


@pytest.fixture
def read_from(replicated: Fleet, start_proxy: StartProxy) -> Callable[..., Proxy]:
    """A proxy whose plain endpoint reads from there, over known keys."""

    def start(source: str, *, zone: str | None = None, zones: list[list[str]] | None = None) -> Proxy:
        config = config_of(replicated, reads={"from": source})
        if zone is not None:
            config["zone"] = zone
        for shard, names in zip(config["clusters"]["main"]["shards"], zones or (), strict=False):
            shard["nodes"] = [{"address": a, "zone": z} for a, z in zip(shard["nodes"], names, strict=True)]
        fill(replicated)
        return start_proxy(config)

    return start


def read_all(client: Wire, times: int = 2) -> None:
    for key in KEYS * times:
        assert client.ask("GET", key) == b"x"


# --- which nodes answer ---


def test_the_primary_endpoint_uses_primaries_only(
    read_from: Callable[..., Proxy], replicated: Fleet, wire: Open
) -> None:
    proxy = read_from("replica")
    client = wire(proxy.address("primary"))
    read_all(client)
    assert client.ask("READONLY") == b"OK"
    read_all(client)
    primaries, replicas = by_role(replicated)
    assert sum(primaries) == 4 * len(KEYS)
    assert replicas == [0, 0, 0, 0]


@pytest.mark.parametrize("source", ["primary", "replica", "nearest"])
def test_the_reader_endpoint_uses_replicas_only(
    source: str, read_from: Callable[..., Proxy], replicated: Fleet, wire: Open
) -> None:
    proxy = read_from(source)
    client = wire(proxy.address("reader"))
    read_all(client)
    primaries, replicas = by_role(replicated)
    assert primaries == [0, 0]
    assert sum(replicas) == 2 * len(KEYS)
    assert all(replicas), "some replica answered nothing"


def test_the_reader_endpoint_refuses_writes(proxy: Proxy, fleet: Fleet, wire: Open) -> None:
    client = wire(proxy.address("reader"))
    for args in (
        ("SET", "k", "v"), ("DEL", "k", "l"), ("MSET", "k", 1, "l", 2), ("BLPOP", "k", "l", 0), ("FLUSHALL",),
        ("EVAL", "return 1", 0), ("FUNCTION", "FLUSH"), ("SCRIPT", "FLUSH"),
    ):  # fmt: skip
        assert client.ask(*args) == READONLY, args
    assert client.ask("GET", "k") is None
    assert client.ask("MGET", "k", "l") == [None, None]
    assert client.ask("EVAL_RO", "return 7", 0) == 7
    assert client.ask("ROLE")[0] == b"slave"
    assert dict(zip(*[iter(client.ask("HELLO", 2))] * 2, strict=True))[b"role"] == b"replica"
    assert dict(zip(*[iter(wire(proxy).ask("HELLO", 2))] * 2, strict=True))[b"role"] == b"master"
    assert client.ask("PING") == b"PONG"


def test_transactions_on_the_reader_endpoint_only_read(
    read_from: Callable[..., Proxy], replicated: Fleet, wire: Open
) -> None:
    client = wire(read_from("primary").address("reader"))
    for _ in range(10):
        assert client.ask("MULTI") == b"OK"
        assert client.ask("GET", "key-1") == b"QUEUED"
        assert client.ask("PING") == b"QUEUED"
        assert client.ask("EXEC") == [b"x", b"PONG"]
    primaries, replicas = by_role(replicated)
    assert primaries == [0, 0]
    assert sum(replicas) == 10
    for args in (("SET", "key-1", "y"), ("EVAL", "return redis.call('set', KEYS[1], 1)", 1, "key-1")):
        assert client.ask("WATCH", "key-1") == b"OK"
        assert client.ask("MULTI") == b"OK"
        assert client.ask(*args) == READONLY
        assert client.ask("EXEC") == "EXECABORT Transaction discarded because of previous errors."
    assert client.ask("GET", "key-1") == b"x"


@pytest.mark.parametrize(
    ("source", "used"),
    [("primary", (True, False)), ("replica", (False, True)), ("nearest", (True, True))],
)
def test_the_plain_endpoint_reads_where_it_is_told(
    source: str, used: tuple[bool, bool], read_from: Callable[..., Proxy], replicated: Fleet, wire: Open
) -> None:
    proxy = read_from(source)
    read_all(wire(proxy))
    primaries, replicas = by_role(replicated)
    assert (any(primaries), any(replicas)) == used
    assert sum(primaries) + sum(replicas) == 2 * len(KEYS)


def test_nearest_is_the_own_zone_first(
    read_from: Callable[..., Proxy], replicated: Fleet, wire: Open
) -> None:
    proxy = read_from("nearest", zone="b", zones=[["a", "b", "c"], ["b", "a", "b"]])
    read_all(wire(proxy))
    counts = [[gets(node) for node in shard.nodes] for shard in replicated.shards]  # type: ignore[arg-type]
    assert [[count > 0 for count in shard] for shard in counts] == [[False, True, False], [True, False, True]]


def test_a_client_may_prefer_replicas(read_from: Callable[..., Proxy], replicated: Fleet, wire: Open) -> None:
    proxy = read_from("primary")
    client = wire(proxy)
    assert client.ask("READONLY") == b"OK"
    read_all(client)
    primaries, _ = by_role(replicated)
    assert primaries == [0, 0]
    assert client.ask("READWRITE") == b"OK"
    read_all(client, times=1)
    primaries, _ = by_role(replicated)
    assert sum(primaries) == len(KEYS)


# --- replicas that fail ---


class Readers:
    """Threads that read all the time, and remember every error."""

    def __init__(self, address: Address, count: int = 4) -> None:
        self.address = address
        self.errors: list[str] = []
        self.reads = Counter[int]()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(count)]

    def _run(self, number: int) -> None:
        client = Wire(self.address, timeout=20)
        try:
            while not self._stop.is_set():
                for key in KEYS:  # a pipeline, so that requests are under way when a node goes
                    client.send_command("GET", key)
                for reply in [client.reply() for _ in KEYS]:
                    if reply != b"x":
                        self.errors.append(repr(reply))
                self.reads[number] += len(KEYS)
        except OSError as e:
            self.errors.append(repr(e))
        finally:
            client.close()

    def __enter__(self) -> Readers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def wait_for_more(self, count: int = 2000) -> None:
        """Every thread has read so many more keys."""
        before = dict(self.reads)
        wait_until(
            lambda: all(self.reads[n] >= before.get(n, 0) + count for n in range(len(self._threads))),
            "more reads",
            30,
        )


@pytest.fixture
def mortal(start_fleet: StartFleet, start_proxy: StartProxy) -> Callable[..., tuple[Fleet, Proxy]]:
    """A shard whose nodes may be hurt, with readers' proxy before it."""

    def start(replicas: int, **options: Any) -> tuple[Fleet, Proxy]:
        fleet = start_fleet(shards=1, replicas=replicas)
        fill(fleet)
        return fleet, start_proxy(config_of(fleet, **options))

    return start


@pytest.mark.parametrize("replicas", [1, 2])
def test_readers_never_see_a_replica_die_and_use_it_again_when_it_is_back(
    replicas: int, mortal: Callable[..., tuple[Fleet, Proxy]]
) -> None:
    fleet, proxy = mortal(replicas)
    victim = fleet.shards[0].replicas[0]
    assert isinstance(victim, RedisNode)
    with Readers(proxy.address("reader")) as readers:
        readers.wait_for_more()
        assert gets(victim) > 0
        fleet.kill(victim)
        readers.wait_for_more()
        assert readers.errors == []
        fleet.restart(victim)
        wait_until(lambda: gets(victim) > 0, "reads come back to the replica", 30)
    assert set(readers.errors) <= {"None"}  # until it has its keys back


def test_a_frozen_replica_costs_its_deadline_and_no_error(mortal: Callable[..., tuple[Fleet, Proxy]]) -> None:
    fleet, proxy = mortal(2, timeouts={"reply": "300ms", "connect": "300ms"})
    victim = fleet.shards[0].replicas[1]
    with Readers(proxy.address("reader")) as readers:
        readers.wait_for_more()
        with frozen(victim):
            readers.wait_for_more(600)
    assert readers.errors == []


def test_a_replica_without_its_primary_is_passed_over(mortal: Callable[..., tuple[Fleet, Proxy]]) -> None:
    fleet, proxy = mortal(2)
    victim = fleet.shards[0].replicas[0]
    assert isinstance(victim, RedisNode)
    with Readers(proxy.address("reader")) as readers:
        readers.wait_for_more()
        victim.ask("CONFIG", "SET", "replica-serve-stale-data", "no")
        victim.ask("REPLICAOF", "127.0.0.1", str(free_port()))
        wait_until(lambda: "MASTERDOWN" in victim.ask("INFO", "errorstats").decode(), "somebody asks it")
        readers.wait_for_more()
        primary = fleet.shards[0].primary.address
        victim.ask("REPLICAOF", primary.host, str(primary.port))
        before = gets(victim)
        wait_until(lambda: gets(victim) > before + 100, "reads come back to the replica", 30)
    assert readers.errors == []


def test_all_replicas_gone_the_primary_answers(mortal: Callable[..., tuple[Fleet, Proxy]]) -> None:
    fleet, proxy = mortal(1)
    primary = fleet.shards[0].primary
    assert isinstance(primary, RedisNode)
    with Readers(proxy.address("reader")) as readers:
        readers.wait_for_more()
        assert gets(primary) == 0
        fleet.kill(fleet.shards[0].replicas[0])
        readers.wait_for_more()
        assert gets(primary) > 0
    assert readers.errors == []


@contextmanager
def frozen(node: Any) -> Iterator[None]:
    node.freeze()
    try:
        yield
    finally:
        node.thaw()


# --- what clients are told ---


def cluster_client(address: Address, **options: Any) -> RedisCluster:
    return RedisCluster(host=address.host, port=address.port, socket_timeout=10, **options)


def test_direct_mode_leads_cluster_clients_to_the_nodes(
    replicated: Fleet, start_proxy: StartProxy, redis_client: Callable[..., redis.Redis]
) -> None:
    address = f"127.0.0.1:{free_port()}"
    endpoints = {"configuration": {"address": address, "mode": "direct"}}
    proxy = start_proxy(config_of(replicated, endpoints=endpoints))
    wait_until(lambda: redis_client(Address.parse(address)).ping(), "the proxy listens")
    client = cluster_client(Address.parse(address))
    try:
        told = {(node.name, node.server_type) for node in client.get_nodes()}
        primaries = {(str(shard.primary.address), "primary") for shard in replicated.shards}
        others = {(str(node.address), "replica") for shard in replicated.shards for node in shard.replicas}
        assert told == primaries | others
        for n in range(40):
            assert client.set(f"direct-{n}", n)
        through_proxy = redis_client(Address.parse(address))
        assert [through_proxy.get(f"direct-{n}") for n in range(40)] == [str(n).encode() for n in range(40)]
        counts = [shard.primary.ask("DBSIZE") for shard in replicated.shards]  # type: ignore[attr-defined]
        assert all(counts)
    finally:
        client.close()
    assert proxy.is_running


def test_an_advertised_address_is_where_cluster_clients_go(
    fleet: Fleet, start_proxy: StartProxy, wire: Open
) -> None:
    public, private = (f"127.0.0.1:{free_port()}" for _ in range(2))
    endpoints = {"configuration": {"address": [private, public], "advertise": public}}
    proxy = start_proxy(config_of(fleet, endpoints=endpoints))
    client = cluster_client(Address.parse(private))
    try:
        assert [node.name for node in client.get_nodes()] == [public]
        for n in range(40):
            assert client.set(f"advertised-{n}", n)
            assert client.get(f"advertised-{n}") == str(n).encode()
        listed = wire(Address.parse(private)).ask("CLIENT", "LIST").decode()
        assert f"laddr={public}" in listed
    finally:
        client.close()
    assert proxy.is_running
