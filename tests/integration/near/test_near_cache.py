"""Hot keys are answered from the proxy's memory, with nothing older than what a writer was told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import redis

from shardproxy.fleet import Fleet
from shardproxy.model import Address
from tests.fixtures.clients import Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Proxy, StartProxy, config_of, wait_until

Open = Callable[..., Wire]
HOT = 10  # times a key is asked for to be worth a place
ROUNDS = 400
WORKERS = 2


@dataclass
class Setup:
    fleet: Fleet
    proxy: Proxy
    engines: list[redis.Redis]

    def hits(self) -> float:
        return self.proxy.metrics()['shardproxy_near_hits_total{cluster="main"}']

    def calls(self, command: str) -> int:
        """How often the engines have executed it."""
        stats = [engine.info("commandstats").get(f"cmdstat_{command}", {}) for engine in self.engines]
        return sum(of.get("calls", 0) for of in stats)


@contextmanager
def engines_of(fleet: Fleet) -> Iterator[list[redis.Redis]]:
    clients = [redis.Redis(shard.primary.address.host, shard.primary.port) for shard in fleet.shards]
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


def run(start_fleet: StartFleet, start_proxy: StartProxy) -> Iterator[Setup]:
    fleet = start_fleet(shards=2, replicas=0, args=["--enable-debug-command", "yes"])
    proxy = start_proxy(near(config_of(fleet)))
    with engines_of(fleet) as engines:
        yield Setup(fleet, proxy, engines)


@pytest.fixture(scope="module")
def shared(start_fleet_for_module: StartFleet, start_proxy_for_module: StartProxy) -> Iterator[Setup]:
    yield from run(start_fleet_for_module, start_proxy_for_module)


@pytest.fixture
def setup(shared: Setup, wire: Open) -> Setup:
    """Without a key, here and at the engines, which have counted nothing."""
    wire(shared.proxy).ask("FLUSHALL")
    for engine in shared.engines:
        engine.config_resetstat()
    return shared


@pytest.fixture
def own_setup(start_fleet: StartFleet, start_proxy: StartProxy) -> Iterator[Setup]:
    """For tests that leave engines otherwise than they found them."""
    yield from run(start_fleet, start_proxy)


def near(config: dict[str, object], **settings: object) -> dict[str, object]:
    clusters = config["clusters"]
    assert isinstance(clusters, dict)
    for cluster in clusters.values():
        cluster["near_cache"] = {"memory": "8mb", **settings}
    return config


def heat(setup: Setup, client: Wire, *words: str | int) -> object:
    """Ask until it is kept by the worker of this client."""

    def is_kept() -> bool:
        for _ in range(HOT):
            client.ask(*words)
        before = setup.calls(str(words[0]).lower())
        client.ask(*words)
        return setup.calls(str(words[0]).lower()) == before

    wait_until(is_kept, f"{words} is kept")
    return client.ask(*words)


def test_what_is_hot_is_answered_without_the_engines(setup: Setup, wire: Open) -> None:
    client = wire(setup.proxy)
    for n in range(20):
        client.ask("SET", f"k{n}", f"v{n}")
    for n in range(20):
        assert heat(setup, client, "GET", f"k{n}") == f"v{n}".encode()
    before, hits = setup.calls("get"), setup.hits()
    assert hits >= 20
    assert [client.ask("GET", f"k{n}") for n in range(20)] == [f"v{n}".encode() for n in range(20)]
    assert client.ask("MGET", *(f"k{n}" for n in range(20))) == [f"v{n}".encode() for n in range(20)]
    assert setup.calls("get") == before
    assert setup.calls("mget") == 0
    assert setup.hits() == hits + 40

    def are_counted() -> bool:
        metrics = setup.proxy.metrics()
        assert metrics['shardproxy_near_keys{cluster="main"}'] <= 20 * WORKERS
        are_all = metrics['shardproxy_near_keys{cluster="main"}'] >= 20
        return are_all and metrics['shardproxy_near_bytes{cluster="main"}'] > 0

    wait_until(are_counted, "what is kept is told, as a worker does once a second")


def test_hashes_are_answered_in_the_version_their_client_speaks(setup: Setup, wire: Open) -> None:
    two, three = wire(setup.proxy), wire(setup.proxy)
    two.ask("HSET", "h", "a", 1, "b", 2)
    three.ask("HELLO", 3)
    assert heat(setup, two, "HGETALL", "h") == [b"a", b"1", b"b", b"2"]
    assert heat(setup, three, "HGETALL", "h") == {b"a": b"1", b"b": b"2"}
    before = setup.calls("hgetall")
    assert two.ask("HGETALL", "h") == [b"a", b"1", b"b", b"2"]
    assert three.ask("HGETALL", "h") == {b"a": b"1", b"b": b"2"}
    assert setup.calls("hgetall") == before
    two.ask("HSET", "h", "a", 9)
    assert two.ask("HGETALL", "h") == [b"a", b"9", b"b", b"2"]
    assert three.ask("HGETALL", "h") == {b"a": b"9", b"b": b"2"}


WRITES: list[tuple[tuple[str | int, ...], bytes | None]] = [
    (("SET", "{k}1", "new"), b"new"),
    (("APPEND", "{k}1", "er"), b"oler"),
    (("MSET", "{k}0", "x", "{k}1", "new"), b"new"),
    (("MSET", "other", "x", "{k}1", "new"), b"new"),
    (("DEL", "{k}0", "{k}1"), None),
    (("UNLINK", "other", "{k}1"), None),
    (("RENAME", "{k}2", "{k}1"), b"two"),
    (("COPY", "{k}2", "{k}1", "REPLACE"), b"two"),
    (("GETDEL", "{k}1"), None),
    (("EVAL", "return redis.call('set', KEYS[1], 'new')", 1, "{k}1"), b"new"),
    (("EVAL", "return redis.call('set', '{k}1', 'new')", 0), b"new"),
    (("PEXPIRE", "{k}1", 0), None),
    (("FLUSHALL",), None),
]


@pytest.mark.parametrize(("write", "after"), WRITES, ids=lambda value: str(value[0]) if value else "-")
def test_what_is_written_is_read_at_once(
    setup: Setup, wire: Open, write: tuple[str | int, ...], after: bytes | None
) -> None:
    clients = [wire(setup.proxy) for _ in range(4)]  # of both workers
    clients[0].ask("MSET", "{k}1", "ol", "{k}2", "two")
    for client in clients:
        heat(setup, client, "GET", "{k}1")
    clients[0].ask(*write)
    assert [client.ask("GET", "{k}1") for client in clients] == [after] * 4


def test_a_transaction_is_read_at_once(setup: Setup, wire: Open) -> None:
    clients = [wire(setup.proxy) for _ in range(4)]
    clients[0].ask("SET", "{k}1", "old")
    for client in clients:
        heat(setup, client, "GET", "{k}1")
    for words in (("MULTI",), ("SET", "{k}1", "new"), ("SET", "{k}2", "new"), ("EXEC",)):
        clients[0].ask(*words)
    assert [client.ask("GET", "{k}1") for client in clients] == [b"new"] * 4


def test_requests_of_one_client_keep_their_order(setup: Setup, wire: Open) -> None:
    client = wire(setup.proxy)
    client.ask("SET", "k", 0)
    heat(setup, client, "GET", "k")
    for n in range(1, ROUNDS):
        client.send_command("SET", "k", n)
        client.send_command("GET", "k")
        client.send_command("GET", "k")
        assert [client.reply() for _ in range(3)] == [b"OK", str(n).encode(), str(n).encode()]
        if n % 10 == 0:
            assert heat(setup, client, "GET", "k") == str(n).encode()


def test_a_client_reads_its_own_pipelined_transaction(setup: Setup, wire: Open) -> None:
    client = wire(setup.proxy)
    client.ask("SET", "k", 0)
    for n in range(1, 50):
        heat(setup, client, "GET", "k")
        for words in (("MULTI",), ("SET", "k", n), ("EXEC",), ("GET", "k")):
            client.send_command(*words)
        assert [client.reply() for _ in range(4)] == [b"OK", b"QUEUED", [b"OK"], str(n).encode()]


def test_swapped_databases_are_read_at_once(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: Open
) -> None:
    fleet = start_fleet(shards=1, replicas=0)
    proxy = start_proxy(near(config_of(fleet)))
    clients = [wire(proxy) for _ in range(4)]
    with engines_of(fleet) as engines:
        engines[0].set("k", "old")
        engines[0].execute_command("SELECT", 1)
        engines[0].set("k", "new")
        engines[0].execute_command("SELECT", 0)
        for client in clients:
            assert heat(Setup(fleet, proxy, engines), client, "GET", "k") == b"old"
        clients[0].ask("SWAPDB", 0, 1)
        assert [client.ask("GET", "k") for client in clients] == [b"new"] * 4


def test_who_watches_reads_at_the_engine(setup: Setup, wire: Open) -> None:
    client, other = wire(setup.proxy), wire(setup.proxy)
    client.ask("SET", "k", "old")
    heat(setup, client, "GET", "k")
    client.ask("WATCH", "k")
    before = setup.calls("get")
    assert client.ask("GET", "k") == b"old"
    assert setup.calls("get") == before + 1
    other.ask("SET", "k", "new")
    client.ask("MULTI")
    client.ask("SET", "k", "mine")
    assert client.ask("EXEC") is None


def test_what_others_write_is_told_by_the_engine(setup: Setup, wire: Open) -> None:
    client = wire(setup.proxy)
    for n in range(20):
        client.ask("SET", f"k{n}", "old")
        heat(setup, client, "GET", f"k{n}")
    for engine in setup.engines:
        engine.mset(dict.fromkeys(engine.scan_iter(), "new"))
    wait_until(
        lambda: all(client.ask("GET", f"k{n}") == b"new" for n in range(20)), "the engine's word is heard"
    )
    for engine in setup.engines:
        engine.flushall()
    wait_until(lambda: all(client.ask("GET", f"k{n}") is None for n in range(20)), "so is that all are gone")


def test_a_key_that_expires_is_gone_in_time(own_setup: Setup, wire: Open) -> None:
    client = wire(own_setup.proxy)
    for engine in own_setup.engines:
        engine.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", "0")  # nobody tells of what has expired
    client.ask("SET", "k", "v", "PX", 1500)
    heat(own_setup, client, "GET", "k")
    before = own_setup.calls("get")
    assert client.ask("GET", "k") == b"v"
    assert own_setup.calls("get") == before
    ends = client.ask("PEXPIRETIME", "k")
    time_is = own_setup.engines[0].time
    # in its last millisecond it is still there, at an engine too
    wait_until(lambda: (now := time_is())[0] * 1000 + now[1] // 1000 > ends, "its time is over")
    assert client.ask("GET", "k") is None


def test_engines_answer_whoever_asks_for_very_much_at_once(setup: Setup, wire: Open) -> None:
    """Else a few bytes would have a worker copy megabytes, and everybody else wait for it."""
    client = wire(setup.proxy)
    client.ask("SET", "k", "x" * 60_000)
    heat(setup, client, "GET", "k")
    before = setup.calls("mget")
    assert client.ask("MGET", *["k"] * 4) == [b"x" * 60_000] * 4
    assert setup.calls("mget") == before
    assert client.ask("MGET", *["k"] * 100) == [b"x" * 60_000] * 100
    assert setup.calls("mget") > before
    before = setup.calls("get")
    client.send(b"GET k\r\n" * 100)
    assert [client.reply() for _ in range(100)] == [b"x" * 60_000] * 100
    assert setup.calls("get") > before + 50


def test_keys_of_other_names_are_not_kept(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: Open
) -> None:
    fleet = start_fleet(shards=1, replicas=0)
    proxy = start_proxy(near(config_of(fleet), match=["user:{id}"]))
    client = wire(proxy)
    with engines_of(fleet) as engines:
        setup = Setup(fleet, proxy, engines)
        client.ask("MSET", "user:1", "v", "page:1", "v")
        heat(setup, client, "GET", "user:1")
        before = setup.calls("get")
        assert [client.ask("GET", "page:1") for _ in range(HOT)] == [b"v"] * HOT
        assert setup.calls("get") == before + HOT


def cut_feeds(engine: redis.Redis) -> int:
    """Close the connections on which it tells of changes; how many there were."""
    return sum(
        engine.client_kill_filter(_id=one["id"]) for one in engine.client_list() if "B" in one["flags"]
    )


def test_without_its_feed_nothing_is_answered(own_setup: Setup, wire: Open) -> None:
    client = wire(own_setup.proxy)
    client.ask("SET", "k", "old")
    heat(own_setup, client, "GET", "k")
    (owner,) = [engine for engine in own_setup.engines if engine.exists("k")]
    owner.execute_command("ACL", "SETUSER", "default", "-client|tracking")  # so that none comes back
    assert cut_feeds(owner) == 2, "one of each worker"
    owner.set("k", "new")
    wait_until(lambda: client.ask("GET", "k") == b"new", "the loss is noticed")
    before = own_setup.calls("get")
    for _ in range(HOT):
        assert client.ask("GET", "k") == b"new"
    assert own_setup.calls("get") == before + HOT


def test_once_its_feed_is_back_it_is_answered_again(setup: Setup, wire: Open) -> None:
    client = wire(setup.proxy)
    client.ask("SET", "k", "old")
    heat(setup, client, "GET", "k")
    (owner,) = [engine for engine in setup.engines if engine.exists("k")]
    assert cut_feeds(owner) == 2
    owner.set("k", "new")
    wait_until(lambda: client.ask("GET", "k") == b"new", "the loss is noticed")
    assert heat(setup, client, "GET", "k") == b"new"


@dataclass
class Told:
    """What writers were told: the last number of each key whose write was acknowledged."""

    keys: int
    numbers: list[int] = field(init=False)
    faults: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    reads: int = 0

    def __post_init__(self) -> None:
        self.numbers = [0] * self.keys

    def write(self, address: Address) -> None:
        client = Wire(address)
        number = 0
        while not self.stop.is_set():
            number += 1
            for key in range(self.keys):
                if client.ask("SET", f"k:{key}", number) == b"OK":
                    self.numbers[key] = number
        client.close()

    def read(self, address: Address) -> None:
        client = Wire(address)
        while not self.stop.is_set():
            for key in range(self.keys):
                for _ in range(20):
                    least = self.numbers[key]
                    found = int(client.ask("GET", f"k:{key}") or 0)
                    self.reads += 1
                    if found < least:
                        self.faults.append(f"k:{key} was {found} after {least} was acknowledged")
        client.close()


def test_no_read_is_older_than_what_a_writer_was_told(setup: Setup) -> None:
    told = Told(keys=3)
    address = setup.proxy.address()
    threads = [threading.Thread(target=told.write, args=(address,))]
    threads += [threading.Thread(target=told.read, args=(address,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: told.faults or told.reads > 30_000, "enough was read", timeout=60)
    finally:
        told.stop.set()
        for thread in threads:
            thread.join()
    assert told.faults == []
    assert setup.hits() > told.reads / 10, "it was read from memory at all"
