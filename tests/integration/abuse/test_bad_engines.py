"""Engines that answer nonsense, too little, too much or nothing: one error or a close, no shifted reply."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from shardproxy.fleet import Fleet, free_port
from tests.fixtures.clients import ReplyError, Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.fake_engine import Answer, Cut, FakeEngine, Request
from tests.fixtures.oracle import command
from tests.fixtures.proxy import Proxy, StartProxy, wait_until
from tests.integration.abuse.watch import MIB, at_most, restarts

BAD, GOOD = "bad", "good"  # in the first and second half of the slots
Open = Callable[..., Wire]
Start = Callable[[Answer], tuple[Proxy, FakeEngine]]


def slot_half(name: str) -> int:
    from redis.crc import key_slot

    return key_slot(name.encode()) // 8192


bad_key = next(f"{BAD}{i}" for i in range(100) if slot_half(f"{BAD}{i}") == 0)
good_key = next(f"{GOOD}{i}" for i in range(100) if slot_half(f"{GOOD}{i}") == 1)


@pytest.fixture(scope="module")
def real(start_fleet_for_module: StartFleet) -> Fleet:
    return start_fleet_for_module(shards=1, replicas=0)


class Stage:
    """A proxy over two shards: a fake engine, whose part changes from test to test, and a real one."""

    def __init__(self, proxy: Proxy, fake: FakeEngine) -> None:
        self.proxy = proxy
        self.fake = fake

    def play(self, answer: Answer) -> tuple[Proxy, FakeEngine]:
        self.fake.behave(answer)
        return self.proxy, self.fake


@pytest.fixture(scope="module")
def stage(real: Fleet, start_proxy_for_module: StartProxy) -> Iterator[Stage]:
    fake = FakeEngine(lambda _, request: echo(request))
    shards = [{"nodes": [str(fake.address)]}, *real.config_shards()]
    cluster = {"engine": "redis", "shards": shards, "timeouts": {"reply": "500ms"}}
    yield Stage(start_proxy_for_module({"workers": 1, "clusters": {"main": cluster}}), fake)
    fake.close()


@pytest.fixture
def start(stage: Stage) -> Start:
    """Let the fake engine behave so."""
    return stage.play


def echo(request: Request) -> bytes:
    """What a healthy fake says: its last argument."""
    return b"$%d\r\n%s\r\n" % (len(request[-1]), request[-1])


NONSENSE = {
    "no type": b"hello\r\n",
    "binary": bytes(range(256)) + b"\r\n",
    "line feed only": b"+OK\n",
    "empty line": b"\r\n",
    "length is no number": b"$x\r\n",
    "length is empty": b"$\r\n",
    "length is negative": b"$-5\r\n",
    "length beyond all memory": b"$99999999999999999999\r\nx",
    "count is negative": b"*-5\r\n",
    "count beyond all memory": b"*99999999999999999999\r\n",
    "value in the place of a line end": b"$3\r\nabcdef\r\n",
    "an error within an array, then nonsense": b"*2\r\n-ERR x\r\nnope\r\n",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
}


@pytest.mark.parametrize("case", NONSENSE)
def test_nonsense_is_one_error_and_shifts_nothing(start: Start, wire: Open, case: str) -> None:
    proxy, fake = start(lambda _, request: NONSENSE[case] if request[0] == b"SET" else echo(request))
    client, other = wire(proxy), wire(proxy)
    client.send(command("SET", bad_key, "1") + command("SET", good_key, "2") + command("GET", good_key))
    first = client.reply()
    assert isinstance(first, ReplyError), first
    assert "INDOUBT" in str(first)
    assert "shard 0" in str(first)
    assert [client.reply(), client.reply()] == [b"OK", b"2"]
    assert other.ask("GET", bad_key) == bad_key.encode(), "a new connection serves again"
    assert client.ask("GET", bad_key) == bad_key.encode()
    assert fake.connections >= 2
    assert restarts(proxy) == 0


HALVES = {
    "nothing": b"",
    "a type": b"$",
    "a length": b"$5\r\n",
    "half a value": b"$5\r\nab",
    "a value without its line end": b"$2\r\nab",
    "half a line": b"+O",
    "half a line end": b"+OK\r",
    "half an array": b"*2\r\n$1\r\na\r\n",
    "an array's header": b"*1000000\r\n",
    "deeply nested": b"*1\r\n" * 10_000,
}


@pytest.mark.parametrize("case", HALVES)
def test_a_write_cut_mid_reply_is_in_doubt(start: Start, wire: Open, case: str) -> None:
    proxy, fake = start(lambda _, request: Cut(HALVES[case]) if request[0] == b"SET" else echo(request))
    client = wire(proxy)
    client.send(command("SET", bad_key, "1") + command("SET", good_key, "2") + command("GET", bad_key))
    assert "INDOUBT shard 0" in str(client.reply())
    assert [client.reply(), client.reply()] == [b"OK", bad_key.encode()]
    assert [request[0] for request in fake.requests].count(b"SET") == 1, "a write is never sent twice"
    assert restarts(proxy) == 0


@pytest.mark.parametrize("case", HALVES)
def test_a_read_cut_mid_reply_is_asked_again_once(start: Start, wire: Open, case: str) -> None:
    proxy, fake = start(lambda number, request: Cut(HALVES[case]) if number == 0 else echo(request))
    assert wire(proxy).ask("GET", bad_key) == bad_key.encode()
    assert len(fake.requests) == 2


def test_a_read_cut_twice_is_an_error(start: Start, wire: Open) -> None:
    proxy, fake = start(lambda number, request: Cut(b"$5\r\nab"))
    client = wire(proxy)
    assert "shard 0 lost twice while reading" in str(client.ask("GET", bad_key))
    assert len(fake.requests) == 2
    serves_elsewhere(client)


LARGE_HALVES = {
    "a value": b"$9000000\r\n" + b"x" * 3_000_000,
    "an array": b"*1000000\r\n" + b"$1\r\nx\r\n" * 500_000,
    "a line without end": b"+" + b"x" * 3_000_000,
    "deeply nested": b"*1\r\n" * 500_000,
    "more nonsense than is gathered": b"*1000000\r\n" + b"$1\r\nx\r\n" * 100_000 + b"nonsense\r\n",
}


@pytest.mark.parametrize("case", LARGE_HALVES)
def test_half_a_large_reply_closes_its_client(start: Start, wire: Open, case: str) -> None:
    """Its first bytes are out, so only a close keeps the next reply from being taken for the rest."""
    half = LARGE_HALVES[case]
    proxy, _ = start(lambda _, request: Cut(half) if request[0] == b"GET" else echo(request))
    client, other = wire(proxy), wire(proxy)
    client.send(command("GET", bad_key) + command("GET", good_key))
    got = b""
    while chunk := client.socket.recv(65536):
        got += chunk
    assert half.startswith(got)
    serves_elsewhere(other)


def test_parts_of_a_split_command_fail_as_a_whole(start: Start, wire: Open) -> None:
    proxy, _ = start(lambda _, request: Cut(b"*1\r\n$3\r\nab"))
    client = wire(proxy)
    for words in (("MGET", bad_key, good_key), ("DEL", bad_key, good_key), ("MSET", bad_key, 1, good_key, 2)):
        reply = client.ask(*words)
        assert isinstance(reply, ReplyError), reply
        assert "shard 0" in str(reply)
    serves_elsewhere(client)


@pytest.mark.parametrize(
    ("words", "reply"),
    [
        (("MGET", bad_key, good_key), b"+OK\r\n"),
        (("MGET", bad_key, good_key), b"*0\r\n"),
        (("MGET", bad_key, good_key), b"*2\r\n$1\r\na\r\n$1\r\nb\r\n"),
        (("MGET", bad_key, good_key), b"$1\r\nx\r\n"),
        (("DEL", bad_key, good_key), b"+OK\r\n"),
        (("DEL", bad_key, good_key), b":x\r\n"),
        (("DEL", bad_key, good_key), b":99999999999999999999\r\n"),
        (("EXISTS", bad_key, good_key), b"$-1\r\n"),
    ],
)
def test_parts_of_another_shape_are_an_error(
    start: Start, wire: Open, words: tuple[str, ...], reply: bytes
) -> None:
    proxy, _ = start(lambda _, request: reply)
    client = wire(proxy)
    assert client.ask(*words) == "ERR a shard sent an unexpected reply"
    serves_elsewhere(client)
    assert restarts(proxy) == 0


def test_replies_nobody_asked_for_end_the_connection(start: Start, wire: Open) -> None:
    proxy, fake = start(
        lambda number, request: echo(request) + b"+a reply too many\r\n" if number == 0 else echo(request)
    )
    client = wire(proxy)
    assert client.ask("GET", bad_key) == bad_key.encode()
    wait_until(
        lambda: client.ask("GET", bad_key) == bad_key.encode() and fake.connections == 2, "a new connection"
    )


def test_an_engine_that_pours_out_replies_takes_no_memory(start: Start, wire: Open) -> None:
    proxy, _ = start(lambda number, request: echo(request) + b"$1000\r\n" + b"x" * 1000 + b"\r\n" * 20_000)
    client = wire(proxy)
    with at_most(proxy, 32 * MIB):
        assert client.ask("GET", bad_key) == bad_key.encode()
        serves_elsewhere(client)


def test_an_engine_that_never_answers_is_given_up(start: Start, wire: Open) -> None:
    proxy, _ = start(lambda _, request: b"")
    client, other = wire(proxy), wire(proxy)
    client.send(command("SET", bad_key, 1) + command("SET", good_key, 2))
    serves_elsewhere(other)
    assert "INDOUBT shard 0" in str(client.reply())
    assert client.reply() == b"OK"
    serves_elsewhere(client)


def test_an_engine_that_trickles_is_not_overdue(start: Start, wire: Open) -> None:
    """Replies of many requests keep the connection alive, each in its order."""
    proxy, _ = start(lambda _, request: echo(request))
    client = wire(proxy)
    client.send(b"".join(command("SET", bad_key, i) + command("SET", good_key, i) for i in range(500)))
    for number in range(500):
        assert [client.reply(), client.reply()] == [str(number).encode(), b"OK"]


def test_an_engine_that_is_not_there_is_named(start_proxy: StartProxy, wire: Open, real: Fleet) -> None:
    missing = f"127.0.0.1:{free_port()}"
    shards = [{"nodes": [missing]}, *real.config_shards()]
    proxy = start_proxy({"workers": 1, "clusters": {"main": {"engine": "redis", "shards": shards}}})
    client = wire(proxy)
    client.send(command("SET", bad_key, 1))
    serves_elsewhere(wire(proxy))
    reply = str(client.reply())
    assert reply.startswith("TRYAGAIN shard 0")
    assert missing in reply
    assert "not executed" in reply
    serves_elsewhere(client)


def serves_elsewhere(connection: Wire) -> None:
    """The other shard is not concerned."""
    name = f"{{{good_key}}}"
    serves_half = [connection.ask("SET", f"{name}{i}", i) for i in range(5)]
    assert serves_half == [b"OK"] * 5
    assert connection.ask("MGET", *(f"{name}{i}" for i in range(5))) == [b"0", b"1", b"2", b"3", b"4"]
