"""Clients that wait for keys: in the proxy, without connections of their own, as one Redis serves them."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from shardproxy.fleet import Fleet, RedisNode
from tests.fixtures.clients import Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Proxy, StartProxy, config_of, wait_until

Ask = Callable[..., Wire]
WRONGTYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
GONE = "UNBLOCKED the stream key no longer exists"


@pytest.fixture(scope="module")
def small(start_fleet_for_module: StartFleet) -> Fleet:
    return start_fleet_for_module(shards=1, replicas=0)


@pytest.fixture(scope="module")
def two_workers(small: Fleet, start_proxy_for_module: StartProxy) -> Proxy:
    """Two workers over one shard: who waits for a key has its connection with either."""
    return start_proxy_for_module(config_of(small, workers=2))


@pytest.fixture
def engine(small: Fleet) -> RedisNode:
    node = small.shards[0].primary
    assert isinstance(node, RedisNode)
    node.ask("FLUSHALL")
    return node


class Table:
    """Clients of a proxy, and who of them waits."""

    def __init__(self, proxy: Proxy, wire: Ask) -> None:
        self.proxy, self._wire = proxy, wire
        self.other = wire(proxy)
        self._waiting = 0

    def client(self) -> Wire:
        return self._wire(self.proxy)

    def wait(self, *words: str | int) -> Wire:
        """A new client that waits."""
        client = self.client()
        self.waits(client, *words)
        return client

    def waits(self, client: Wire, *words: str | int) -> None:
        before = self.count()
        client.send_command(*words)
        wait_until(lambda: self.count() == before + 1, f"{words} waits")

    def count(self) -> int:
        lines = self.other.ask("CLIENT", "LIST").decode().splitlines()
        return sum(" flags=b " in line for line in lines)


@pytest.fixture
def table(two_workers: Proxy, engine: RedisNode, wire: Ask) -> Table:
    return Table(two_workers, wire)


def blocked(engine: RedisNode) -> int:
    lines = engine.ask("INFO", "clients").decode().splitlines()
    return int(next(line.partition(":")[2] for line in lines if line.startswith("blocked_clients:")))


def connected(engine: RedisNode) -> int:
    lines = engine.ask("INFO", "clients").decode().splitlines()
    return int(next(line.partition(":")[2] for line in lines if line.startswith("connected_clients:")))


def test_they_are_served_in_the_order_they_came(table: Table, engine: RedisNode) -> None:
    clients = [table.wait("BLPOP", "jobs", 0) for _ in range(12)]
    assert blocked(engine) == 0, "nobody waits at the engine"
    for n, client in enumerate(clients[:4]):
        engine.ask("RPUSH", "jobs", f"job {n}")
        assert client.reply() == [b"jobs", b"job %d" % n]
    engine.ask("RPUSH", "jobs", *(f"job {n}" for n in range(4, 12)))
    for n, client in enumerate(clients[4:], 4):
        assert client.reply() == [b"jobs", b"job %d" % n]
    assert engine.ask("EXISTS", "jobs") == 0


def test_three_hundred_that_wait_take_nothing_from_others(table: Table, engine: RedisNode) -> None:
    before = connected(engine)
    clients = [table.client() for _ in range(300)]
    for n, client in enumerate(clients):
        client.send_command("BLPOP", f"idle:{n}", 0)
    wait_until(lambda: table.count() == 300, "all wait")
    assert table.other.ask("RPUSH", "full", "x") == 1
    assert table.client().ask("BLPOP", "full", 0) == [b"full", b"x"]
    watching = table.client()
    assert watching.ask("WATCH", "k") == b"OK"
    assert watching.ask("MULTI") == b"OK"
    assert watching.ask("SET", "k", "v") == b"QUEUED"
    assert watching.ask("EXEC") == [b"OK"]
    assert connected(engine) - before < 16
    for n, client in enumerate(clients):
        engine.ask("RPUSH", f"idle:{n}", n)
        assert client.reply() == [b"idle:%d" % n, b"%d" % n]


COMMANDS = [
    ("BLPOP l 0", "RPUSH l x", [b"l", b"x"]),
    ("BRPOP l 0", "RPUSH l x y", [b"l", b"y"]),
    ("BLMOVE l {l}d LEFT RIGHT 0", "RPUSH l x", b"x"),
    ("BRPOPLPUSH l {l}d 0", "RPUSH l x", b"x"),
    ("BLMPOP 0 2 {l}n l LEFT COUNT 2", "RPUSH l x y z", [b"l", [b"x", b"y"]]),
    ("BZPOPMIN z 0", "ZADD z 1 m 2 n", [b"z", b"m", b"1"]),
    ("BZPOPMAX z 0", "ZADD z 1 m 2 n", [b"z", b"n", b"2"]),
    ("BZMPOP 0 1 z MIN", "ZADD z 1 m", [b"z", [[b"m", b"1"]]]),
    ("XREAD BLOCK 0 STREAMS x $", "XADD x 5-1 f v", [[b"x", [[b"5-1", [b"f", b"v"]]]]]),
    ("XREAD COUNT 1 BLOCK 0 STREAMS x 1-0", "XADD x 5-1 f v", [[b"x", [[b"5-1", [b"f", b"v"]]]]]),
    ("XREADGROUP GROUP g c BLOCK 0 STREAMS y >", "XADD y 5-1 f v", [[b"y", [[b"5-1", [b"f", b"v"]]]]]),
]


@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize(("line", "wake", "reply"), COMMANDS)
def test_each_is_served_what_it_waits_for(
    line: str, wake: str, reply: object, resp: int, table: Table, engine: RedisNode, wire: Ask
) -> None:
    engine.ask("XGROUP", "CREATE", "y", "g", "$", "MKSTREAM")
    client, plain = table.client(), Wire(engine.address)
    try:
        for one in (client, plain):
            one.ask("HELLO", resp)
        table.waits(client, *line.split())
        engine.ask(*wake.split())
        got = client.reply()
        assert resp == 3 or got == reply
        engine.ask("FLUSHALL")
        engine.ask("XGROUP", "CREATE", "y", "g", "$", "MKSTREAM")
        plain.send_command(*line.split())
        wait_until(lambda: blocked(engine) == 1, "it waits")
        engine.ask(*wake.split())
        assert plain.reply() == got, "as one Redis serves it"
        assert client.ask("PING") == b"PONG"
    finally:
        plain.close()


@pytest.mark.parametrize(
    ("line", "wake"),
    [
        ("BLPOP k 0", "MULTI|RPUSH j x|RENAME j k|EXEC"),
        ("BLPOP k 0", "EVAL return(redis.call('rpush','k','x')) 0"),
        ("BLPOP k 0", "SELECT 3|RPUSH k x|MOVE k 0"),
        ("BLPOP k 0", "RPUSH j x|COPY j k"),
        ("BLPOP k 0", "RPUSH j x|LMOVE j k LEFT LEFT"),
        ("BLPOP k 0", "RPUSH j x|SORT j ALPHA STORE k"),
        ("BLPOP k 0", "SET k x|DEL k|RPUSH k x"),
        ("BLPOP k 0", "FLUSHALL|RPUSH k x"),
        ("BLPOP k 0", "SELECT 3|RPUSH k x|SWAPDB 0 3"),
        ("BZPOPMIN k 0", "ZADD j 1 x|ZUNIONSTORE k 1 j"),
        ("BZPOPMIN k 0", "RPUSH k x|DEL k|ZADD k 1 x"),
        ("XREAD BLOCK 0 STREAMS k $", "XADD j 1-1 f v|RENAME j k"),
    ],
)
def test_whatever_makes_a_key_ready_serves_them(
    line: str, wake: str, table: Table, engine: RedisNode
) -> None:
    client, around = table.wait(*line.split()), Wire(engine.address)
    try:
        for words in wake.split("|"):
            around.ask(*words.split())
        assert client.reply() is not None
    finally:
        around.close()


def test_a_dump_restored_serves_them(table: Table, engine: RedisNode) -> None:
    engine.ask("RPUSH", "j", "x")
    client = table.wait("BLPOP", "k", 0)
    engine.ask("RESTORE", "k", 0, engine.ask("DUMP", "j"))
    assert client.reply() == [b"k", b"x"]


def test_each_database_has_its_own(table: Table, engine: RedisNode) -> None:
    clients = []
    for database in (0, 3, 5):
        client = table.client()
        client.ask("SELECT", database)
        table.waits(client, "BLPOP", "k", 0)
        clients.append(client)
    around = Wire(engine.address)
    try:
        for database, client in ((5, clients[2]), (0, clients[0]), (3, clients[1])):
            around.ask("SELECT", database)
            around.ask("RPUSH", "k", f"of {database}")
            assert client.reply() == [b"k", b"of %d" % database]
    finally:
        around.close()


def test_of_several_keys_the_first_that_has_something_counts(table: Table, engine: RedisNode) -> None:
    engine.ask("RPUSH", "{k}b", "x")
    engine.ask("RPUSH", "{k}c", "y")
    assert table.client().ask("BLPOP", "{k}a", "{k}b", "{k}c", 0) == [b"{k}b", b"x"]
    one = table.wait("BLPOP", "{k}a", "{k}b", 0)
    two = table.wait("BLPOP", "{k}b", "{k}a", 0)
    engine.ask("RPUSH", "{k}b", "first")
    assert one.reply() == [b"{k}b", b"first"]
    engine.ask("RPUSH", "{k}b", "second")
    assert two.reply() == [b"{k}b", b"second"]
    assert table.client().ask("BLPOP", "{k}a", "{k}a", "{k}c", 0) == [b"{k}c", b"y"]


def test_nobody_overtakes_who_waits_for_a_key(table: Table, engine: RedisNode) -> None:
    first = table.wait("BLPOP", "{k}a", 0)
    both = table.wait("BLPOP", "{k}a", "{k}b", 0)
    engine.ask("RPUSH", "{k}b", "for both")
    assert both.reply() == [b"{k}b", b"for both"]
    third = table.wait("BLPOP", "{k}b", "{k}a", 0)
    engine.ask("RPUSH", "{k}a", "x", "y")
    assert (first.reply(), third.reply()) == ([b"{k}a", b"x"], [b"{k}a", b"y"])


def test_wrong_types_are_told_to_who_comes_and_not_to_who_waits(table: Table, engine: RedisNode) -> None:
    engine.ask("SET", "{k}s", "x")
    assert table.client().ask("BLPOP", "{k}s", 0) == WRONGTYPE
    assert table.client().ask("XREAD", "BLOCK", 0, "STREAMS", "{k}s", "$") == WRONGTYPE
    waiting = table.wait("BLPOP", "{k}l", 0)
    engine.ask("SET", "{k}l", "x")
    late = table.client()
    wait_until(lambda: late.ask("BLPOP", "{k}l", "0.01") == WRONGTYPE, "it is told, behind one who waits")
    engine.ask("DEL", "{k}l")
    engine.ask("RPUSH", "{k}l", "x")
    assert waiting.reply() == [b"{k}l", b"x"]
    moving, behind = table.wait("BLMOVE", "{k}l", "{k}s", "LEFT", "LEFT", 0), table.wait("BLPOP", "{k}l", 0)
    engine.ask("RPUSH", "{k}l", "y")
    assert moving.reply() == WRONGTYPE
    assert behind.reply() == [b"{k}l", b"y"]


@pytest.mark.parametrize(
    "line",
    [
        "BLPOP k x",
        "BLPOP k -1",
        "BLPOP k inf",
        "BLPOP k 1e400",
        "BLMOVE {k} {k}j UP LEFT 0",
        "BLMPOP 0 0 LEFT",
        "BLMPOP 0 1 k LEFT COUNT 0",
        "BZMPOP x 1 k MIN",
        "XREAD BLOCK -1 STREAMS k $",
        "XREAD BLOCK x STREAMS k $",
        "XREAD BLOCK 0 STREAMS k j $",
        "XREAD BLOCK 0 STREAMS k nonsense",
        "XREADGROUP GROUP g c BLOCK 0 STREAMS k >",
        "XREADGROUP GROUP g c BLOCK 0 STREAMS k $",
        "BLPOP k 0x0.01",
    ],
)
def test_what_the_engine_refuses_is_refused_in_its_words(line: str, table: Table, engine: RedisNode) -> None:
    plain = Wire(engine.address)
    try:
        waiting = table.wait("BLPOP", "k", 0)
        assert table.client().ask(*line.split()) == plain.ask(*line.split())
        waiting.close()
    finally:
        plain.close()


@pytest.mark.parametrize(
    ("words", "waits"),
    [
        ("DEL s", False),
        ("SET s 1", False),
        ("RENAME s t", False),
        ("FLUSHALL", False),
        ("XGROUP DESTROY s g", False),
        ("XGROUP DELCONSUMER s g c1", True),
        ("XGROUP SETID s g 0", True),
    ],
)
def test_groups_and_streams_that_go_are_told_as_one_redis_tells(
    words: str, waits: bool, table: Table, engine: RedisNode
) -> None:
    def begin() -> None:
        engine.ask("FLUSHALL")
        engine.ask("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")

    begin()
    line = ("XREADGROUP", "GROUP", "g", "c1", "BLOCK", 0, "STREAMS", "s", ">")
    clients = [table.wait(*line) for _ in range(3)]
    engine.ask(*words.split())
    if waits:
        engine.ask("XADD", "s", "9-1", "f", "v")
        assert clients[0].reply() == [[b"s", [[b"9-1", [b"f", b"v"]]]]]
        assert table.count() == 2
        return
    got = [client.reply() for client in clients]
    begin()
    plain = Wire(engine.address)
    try:
        plain.send_command(*line)
        wait_until(lambda: blocked(engine) == 1, "it waits")
        engine.ask(*words.split())
        assert got == [plain.reply()] * 3
    finally:
        plain.close()


def test_a_group_serves_its_consumers_in_turn_and_readers_all(table: Table, engine: RedisNode) -> None:
    engine.ask("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
    consumers = [
        table.wait("XREADGROUP", "GROUP", "g", f"c{n}", "BLOCK", 0, "STREAMS", "s", ">") for n in range(3)
    ]
    readers = [table.wait("XREAD", "BLOCK", 0, "STREAMS", "s", "$") for _ in range(3)]
    late = table.wait("XREAD", "BLOCK", 0, "STREAMS", "s", "5-0")
    for n in range(3):
        engine.ask("XADD", "s", f"{n + 1}-1", "f", n)
        assert consumers[n].reply() == [[b"s", [[b"%d-1" % (n + 1), [b"f", b"%d" % n]]]]]
    assert [reader.reply() for reader in readers] == [[[b"s", [[b"1-1", [b"f", b"0"]]]]]] * 3
    assert table.count() == 1
    engine.ask("XADD", "s", "6-1", "f", "x")
    assert late.reply() == [[b"s", [[b"6-1", [b"f", b"x"]]]]]


def test_the_end_of_a_stream_is_where_it_was(table: Table, engine: RedisNode) -> None:
    engine.ask("XADD", "{s}a", "7-1", "f", "old")
    client = table.wait("XREAD", "BLOCK", 0, "STREAMS", "{s}a", "{s}b", "$", "$")
    engine.ask("XADD", "{s}b", "1-1", "f", "new")
    assert client.reply() == [[b"{s}b", [[b"1-1", [b"f", b"new"]]]]]
    other = table.wait("XREAD", "BLOCK", 0, "STREAMS", "{s}a", "{s}b", "$", "$")
    engine.ask("XADD", "{s}a", "8-1", "f", "newer")
    assert other.reply() == [[b"{s}a", [[b"8-1", [b"f", b"newer"]]]]]


def test_timeouts_and_unblocking(table: Table, engine: RedisNode) -> None:
    client = table.client()
    start = time.monotonic()
    assert client.ask("BLPOP", "k", "0.2") is None
    assert time.monotonic() - start >= 0.2
    for line in (
        "BLMOVE k {k}j LEFT LEFT 0.02",
        "BZMPOP 0.02 1 z MIN",
        "XREAD BLOCK 20 STREAMS s $",
        "BLPOP k 0.0001",
    ):
        client.send_command(*line.split())
        assert client.read(5) == b"*-1\r\n", line
    client.ask("HELLO", 3)
    client.send_command("BLMOVE", "k", "{k}j", "LEFT", "LEFT", "0.01")
    assert client.reply() is None
    number = client.ask("CLIENT", "ID")
    for how, reply in (("TIMEOUT", None), ("ERROR", "UNBLOCKED client unblocked via CLIENT UNBLOCK")):
        table.waits(client, "BLPOP", "k", 0)
        assert table.other.ask("CLIENT", "UNBLOCK", number, how) == 1
        assert client.reply() == reply
        assert table.other.ask("CLIENT", "UNBLOCK", number, how) == 0
    assert engine.ask("RPUSH", "k", "x") == 1
    assert client.ask("BLPOP", "k", 0) == [b"k", b"x"]


def test_nothing_is_taken_for_who_has_gone(table: Table, engine: RedisNode) -> None:
    clients = [table.wait("BLPOP", "k", 0) for _ in range(6)]
    for client in clients[:3]:
        client.close()
    number = clients[3].socket.getsockname()[1]
    wait_until(lambda: table.count() == 3, "they are gone")
    assert table.other.ask("CLIENT", "KILL", f"127.0.0.1:{number}") == b"OK"
    engine.ask("RPUSH", "k", "x", "y", "kept")
    assert [client.reply() for client in clients[4:]] == [[b"k", b"x"], [b"k", b"y"]]
    assert engine.ask("LRANGE", "k", 0, -1) == [b"kept"]


def test_commands_behind_it_wait_for_it(table: Table, engine: RedisNode) -> None:
    client = table.client()
    for words in (
        ("SET", "k", 1),
        ("CLIENT", "REPLY", "SKIP"),
        ("BLPOP", "l", 0),
        ("GET", "k"),
        ("ECHO", "last"),
    ):
        client.send_command(*words)
    assert client.reply() == b"OK"
    wait_until(lambda: table.count() == 1, "it waits")
    engine.ask("SET", "k", 2)
    engine.ask("RPUSH", "l", "x")
    assert [client.reply(), client.reply()] == [b"2", b"last"]


def test_a_pause_holds_who_is_served_by_a_write(table: Table, engine: RedisNode) -> None:
    waiting = table.wait("BLPOP", "k", 0)
    assert table.other.ask("CLIENT", "PAUSE", 300, "WRITE") == b"OK"
    engine.ask("RPUSH", "k", "x")
    start = time.monotonic()
    assert waiting.reply() == [b"k", b"x"]
    assert time.monotonic() - start > 0.1


def test_who_watches_waits_beside_it(table: Table, engine: RedisNode) -> None:
    waiting = table.wait("BRPOPLPUSH", "{k}a", "{k}b", 0)
    client = table.client()
    assert client.ask("WATCH", "{k}b") == b"OK"
    assert client.ask("BLPOP", "{k}c", "0.01") is None
    assert client.ask("MULTI") == b"OK"
    assert client.ask("LLEN", "{k}b") == b"QUEUED"
    assert client.ask("EXEC") == [0], "who waits has written nothing"
    assert client.ask("WATCH", "{k}b") == b"OK"
    engine.ask("RPUSH", "{k}a", "x")
    assert waiting.reply() == b"x"
    assert client.ask("MULTI") == b"OK"
    assert client.ask("LLEN", "{k}b") == b"QUEUED"
    assert client.ask("EXEC") is None


def test_who_waits_goes_on_when_the_node_is_back(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: Ask
) -> None:
    fleet = start_fleet(shards=1, replicas=0)
    engine = fleet.shards[0].primary
    assert isinstance(engine, RedisNode)
    table = Table(start_proxy(config_of(fleet, workers=2, timeouts={"park": "30s"})), wire)
    clients = [table.wait("BLPOP", "jobs", 0) for _ in range(4)]
    fleet.kill(engine)
    fleet.restart(engine)
    engine.ask("RPUSH", "jobs", *range(4))
    assert [client.reply()[1] for client in clients] == [b"0", b"1", b"2", b"3"]
    fleet.kill(engine)


def test_who_waits_is_told_when_its_node_stays_away(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: Ask
) -> None:
    fleet = start_fleet(shards=1, replicas=0)
    engine = fleet.shards[0].primary
    assert isinstance(engine, RedisNode)
    table = Table(start_proxy(config_of(fleet, workers=1, timeouts={"park": "500ms"})), wire)
    waiting, short = table.wait("BLPOP", "jobs", 0), table.wait("BLPOP", "jobs", "0.3")
    assert table.other.ask("EXISTS", "jobs") == 0, "what was asked for them before is answered"
    fleet.kill(engine)
    assert short.reply() is None
    assert str(waiting.reply()).startswith("TRYAGAIN shard ")
    fleet.restart(engine)
