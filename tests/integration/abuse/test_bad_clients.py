"""Clients that send nonsense, too much or too slowly, or never read: they are told once, or closed."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from redis.crc import key_slot

from shardproxy.fleet import Fleet
from tests.fixtures.clients import Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.oracle import command
from tests.fixtures.proxy import Proxy, StartProxy, config_of, wait_until
from tests.integration.abuse.watch import (
    MIB,
    at_most,
    closed,
    restarts,
    serves,
    wait_clients,
)

Open = Callable[..., Wire]


@pytest.fixture(scope="module")
def shards(start_fleet_for_module: StartFleet) -> Fleet:
    return start_fleet_for_module(shards=2, replicas=0)


@pytest.fixture
def start(start_proxy: StartProxy, shards: Fleet) -> Callable[..., Proxy]:
    """Start a proxy of one worker, so that good and bad clients share it, with these limits and timeouts."""

    def start(*, buffers: str | int = "1GiB", **options: Any) -> Proxy:
        config = config_of(shards, workers=1, **options)
        config["limits"] = {"buffers": buffers}
        return start_proxy(config)

    return start


def key_of(shard: int) -> str:
    """A key in that half of the slots."""
    return next(name for name in map(str, range(1000)) if key_slot(name.encode()) // 8192 == shard)


def drain(connection: Wire) -> bytes:
    """All that comes until the other side closes."""
    data = b""
    try:
        while chunk := connection.socket.recv(65536):
            data += chunk
    except ConnectionResetError:
        pass
    return data


def flood(connection: Wire, data: bytes) -> None:
    """Send it all unless the other side closes first."""
    with suppress(BrokenPipeError, ConnectionResetError):
        connection.send(data)


def mangled(dice: random.Random) -> bytes:
    """A pipeline of good requests with some bytes changed, doubled or left out."""
    words = [
        b"GET",
        b"SET",
        b"MGET",
        b"DEL",
        b"CLIENT",
        b"HELLO",
        b"3",
        b"ID",
        b"k",
        b"",
        b"*1",
        b"-1",
        b"x" * 80,
    ]
    requests = [command(*dice.choices(words, k=dice.randint(1, 5))) for _ in range(dice.randint(1, 6))]
    data = bytearray(b"".join(requests))
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(data))
        data[at : at + dice.randint(0, 2)] = dice.choice(
            [b"", b"\0", b"\r", b"\n", b"9", b"-", b"$", b"*", b"\xff"]
        )
    return bytes(data)


def test_random_bytes_hurt_nobody_else(start: Callable[..., Proxy], wire: Open) -> None:
    proxy, dice = start(), random.Random(20261123)
    good = wire(proxy)
    with at_most(proxy, 32 * MIB):
        for number in range(400):
            bad = wire(proxy)
            flood(bad, mangled(dice) if number % 2 else dice.randbytes(dice.randint(1, 3000)))
            bad.socket.shutdown(socket.SHUT_WR)
            drain(bad)
            bad.close()
            if number % 40 == 0:
                serves(good, "good")
    serves(good, "good")
    serves(wire(proxy), "new")
    wait_clients(proxy, 2)
    assert restarts(proxy) == 0


def test_truncated_requests_are_forgotten(start: Callable[..., Proxy], wire: Open) -> None:
    proxy = start()
    good = wire(proxy)
    whole = command("MSET", "a", "1", "b", "2") + command("SET", "long", "x" * 10_000)
    for end in [*range(1, 60), *range(60, len(whole), 997)]:
        bad = wire(proxy)
        bad.send(whole[:end])
        bad.socket.shutdown(socket.SHUT_WR)
        assert drain(bad) in (b"", b"+OK\r\n")
        bad.close()
    assert good.ask("GET", "long") is None
    serves(good, "good")
    wait_clients(proxy, 1)
    assert restarts(proxy) == 0


@pytest.mark.parametrize(
    "announced",
    [b"*1\r\n$536870912\r\n", b"*1000000\r\n", b"*1000000\r\n$1\r\n", b"*2\r\n$3\r\nGET\r\n$400000000\r\nxx"],
)
def test_announced_bytes_take_no_memory(start: Callable[..., Proxy], wire: Open, announced: bytes) -> None:
    proxy = start()
    good = wire(proxy)
    serves(good, "good")
    with at_most(proxy, 16 * MIB):
        crowd = [wire(proxy) for _ in range(100)]
        for bad in crowd:
            bad.send(announced)
        serves(good, "good")
    for bad in crowd:
        bad.close()
    wait_clients(proxy, 1)


@pytest.mark.parametrize("bad", [b"*-2\r\n", b"*0\r\n", b"\r\n", b"*-999999999\r\n"])
def test_millions_of_empty_requests_take_no_memory(
    start: Callable[..., Proxy], wire: Open, bad: bytes
) -> None:
    proxy = start()
    connection, good = wire(proxy), wire(proxy)
    with at_most(proxy, 16 * MIB):
        connection.send(bad * (4 * MIB // len(bad)) + command("PING"))
        connection.expect(b"+PONG\r\n")
    serves(good, "good")


@pytest.mark.parametrize("name", ["DEL", "MGET", "NOPE", "SADD"])
def test_a_million_arguments(start: Callable[..., Proxy], wire: Open, name: str) -> None:
    proxy = start()
    many, good = wire(proxy, timeout=60), wire(proxy)
    count = 1_100_000  # more than Redis 6 took
    data = command(name, *range(count))
    with at_most(proxy, 12 * len(data)):
        many.send(data)
        if name == "MGET":
            many.expect(b"*%d\r\n" % count + b"$-1\r\n" * count)
        elif name == "NOPE":
            assert str(many.reply()).startswith(
                "ERR unknown command 'NOPE', with args beginning with: '0' '1' '2'"
            )
        else:
            assert many.reply() == {"DEL": 0, "SADD": count - 1}[name]
        serves(good, "good")
    assert many.ask("ECHO", "still there") == b"still there"
    assert good.ask("DEL", "0") in (0, 1)
    assert restarts(proxy) == 0


def test_slow_clients_hold_nobody_up(start: Callable[..., Proxy], wire: Open) -> None:
    proxy = start(timeouts={"idle": "1s"})
    good, request = wire(proxy), command("SET", "slow", "x" * 50)
    with at_most(proxy, 16 * MIB):
        crowd = [wire(proxy) for _ in range(500)]
        for at in range(len(request) - 1):
            for number, slow in enumerate(crowd):
                if number % len(request) == at:
                    slow.send(request[: at + 1])
        serves(good, "good")

        def all_closed() -> bool:
            serves(good, "good")  # which also keeps the good one from being idle
            return closed(proxy, "idle") >= 500

        wait_until(all_closed, "clients that finish no request are closed")
    assert all(drain(slow) == b"" for slow in crowd[:20])
    assert good.ask("GET", "slow") is None


def test_a_client_that_never_reads_is_cut(start: Callable[..., Proxy], wire: Open) -> None:
    proxy = start(limits={"client_output": "4MiB"})
    deaf, good = wire(proxy, timeout=30), wire(proxy)
    assert good.ask("SET", "large", b"x" * 100_000) == b"OK"
    with at_most(proxy, 48 * MIB):
        flood(deaf, command("GET", "large") * 2000)
        wait_until(lambda: closed(proxy, "output_limit") == 1, "the deaf client is cut")
        serves(good, "good")
    got = drain(deaf)
    reply = b"$100000\r\n" + b"x" * 100_000 + b"\r\n"
    assert (reply * (len(got) // len(reply) + 1)).startswith(got), (
        "what it was sent is in order until the cut"
    )
    wait_clients(proxy, 1)


def test_one_reply_beyond_the_output_limit_is_cut(start: Callable[..., Proxy], wire: Open) -> None:
    proxy = start(limits={"client_output": "4MiB"})
    deaf, good = wire(proxy), wire(proxy)
    assert good.ask("SETRANGE", "giant", 100_000_000, "x") == 100_000_001
    with at_most(proxy, 48 * MIB):
        deaf.send(command("GET", "giant"))
        wait_until(lambda: closed(proxy, "output_limit") == 1, "the deaf client is cut")
    serves(good, "good")
    assert good.ask("DEL", "giant") == 1


def test_a_slow_reader_is_waited_for(start: Callable[..., Proxy], wire: Open) -> None:
    """Back-pressure: what it has not read is not asked for, so nothing grows and nothing is lost."""
    proxy = start(limits={"in_flight": 8, "client_output": "4MiB"})
    slow, good = wire(proxy, timeout=30), wire(proxy)
    assert good.ask("SET", "large", b"x" * 100_000) == b"OK"
    count = 300
    slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    with at_most(proxy, 24 * MIB):
        slow.send(command("GET", "large") * count)
        serves(good, "good")
        for _ in range(count):
            assert slow.reply() == b"x" * 100_000
    assert slow.ask("PING") == b"PONG"


def test_who_monitors_and_does_not_read_is_cut(start: Callable[..., Proxy], wire: Open) -> None:
    """Neither clients notice, nor another that monitors and reads."""
    proxy = start(limits={"client_output": "1MiB"})
    deaf, other, good = wire(proxy), wire(proxy), wire(proxy)
    deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    assert [deaf.ask("MONITOR"), other.ask("MONITOR")] == [b"OK", b"OK"]
    value = "x" * 100_000
    sent = 0

    def is_cut() -> bool:
        nonlocal sent
        for _ in range(10):
            assert good.ask("SET", sent, value) == b"OK"
            assert other.reply().endswith(f'"SET" "{sent}" "{value}"'.encode())
            sent += 1
        return closed(proxy, "output_limit") == 1

    with at_most(proxy, 32 * MIB):
        wait_until(is_cut, "the deaf one is cut")
        serves(good, "good")
    assert other.reply().endswith(b'"SET" "good:0" "good:0"'), "it is told on, and missed nothing"
    assert good.ask("DEL", *range(sent)) == sent
    assert restarts(proxy) == 0


def test_one_client_too_many_is_told_and_closed(start: Callable[..., Proxy], wire: Open) -> None:
    proxy = start(limits={"clients": 3})
    first = [wire(proxy) for _ in range(3)]
    assert [client.ask("PING") for client in first] == [b"PONG"] * 3
    late = wire(proxy)
    late.expect(b"-ERR max number of clients reached\r\n")
    late.expect_closed()
    late = wire(proxy)
    flood(late, command("SET", "k", "x" * 100_000))
    assert drain(late) in (b"-ERR max number of clients reached\r\n", b"")
    first.pop().close()
    wait_clients(proxy, 2)
    serves(wire(proxy), "in time")
    assert [client.ask("PING") for client in first] == [b"PONG"] * 2


@pytest.mark.parametrize("size", [1 * MIB, 100 * MIB])
def test_a_request_beyond_the_limit_is_refused(start: Callable[..., Proxy], wire: Open, size: int) -> None:
    proxy = start(limits={"request": "1MiB"})
    bad, good = wire(proxy), wire(proxy)
    fits = MIB - len(command("SET", "k", "x" * MIB)) + MIB
    with at_most(proxy, 16 * MIB):
        assert good.ask("SET", "k", b"x" * fits) == b"OK"
        flood(bad, command("SET", "k", b"y" * size))
        assert drain(bad) == b"-ERR Protocol error: request larger than limits.request\r\n"
    assert good.ask("STRLEN", "k") == fits
    serves(good, "good")


def test_many_small_arguments_count_as_one_request(start: Callable[..., Proxy], wire: Open) -> None:
    proxy = start(limits={"request": "64KiB"})
    bad = wire(proxy)
    flood(bad, command("DEL", *range(10_000)))
    assert drain(bad) == b"-ERR Protocol error: request larger than limits.request\r\n"


def test_all_buffers_together_have_a_cap(start: Callable[..., Proxy], wire: Open) -> None:
    proxy = start(buffers="16MiB")
    good = wire(proxy)
    crowd = [wire(proxy) for _ in range(40)]
    with at_most(proxy, 64 * MIB):
        for bad in crowd:
            bad.socket.setblocking(False)
            with suppress(BlockingIOError):
                bad.socket.send(b"*2\r\n$4\r\nECHO\r\n$8000000\r\n" + b"x" * 4_000_000)
        assert good.ask("ECHO", "I am small") == b"I am small"

    def is_served() -> bool:
        return bool(good.ask("SET", "k", "v") == b"OK")

    for bad in crowd:
        bad.close()
    wait_clients(proxy, 1)
    wait_until(is_served, "the memory is given back")
    serves(good, "good")
    assert restarts(proxy) == 0


def test_requests_that_do_not_fit_together_all_end(start: Callable[..., Proxy], wire: Open) -> None:
    """Short of memory some are served, some refused and some closed, but nobody waits for ever."""
    proxy = start(buffers="16MiB")
    crowd = [wire(proxy, timeout=30) for _ in range(12)]
    request, value = command("ECHO", "x" * 3_000_000), b"x" * 3_000_000
    senders = [threading.Thread(target=flood, args=(client, request)) for client in crowd]
    for sender in senders:
        sender.start()
    served = 0
    for client in crowd:
        with suppress(EOFError, ConnectionResetError):
            reply = client.reply()
            assert reply == value or "limits.buffers" in str(reply)
            served += 1
    for sender in senders:
        sender.join(10)
    assert served > 1, "no more are closed than there are too many"
    for client in crowd:
        client.close()
    wait_clients(proxy, 0)
    wait_until(lambda: wire(proxy).ask("SET", "later", "x") == b"OK", "memory is free again")
    serves(wire(proxy), "later")


def test_replies_that_come_early_count_for_the_output_limit(
    start: Callable[..., Proxy], wire: Open, shards: Fleet
) -> None:
    """They wait behind a frozen shard's reply, in memory."""
    proxy = start(limits={"client_output": "4MiB"}, timeouts={"reply": "30s"})
    client, good = wire(proxy), wire(proxy)
    frozen = shards.shards[0].primary
    slow, giant = key_of(0), key_of(1)
    assert good.ask("SETRANGE", giant, 60_000_000, "x") == 60_000_001
    assert good.ask("SET", slow, "x") == b"OK"
    shards.freeze(frozen)
    try:
        with at_most(proxy, 32 * MIB):
            client.send(command("GET", slow) + command("GET", giant))
            wait_until(lambda: closed(proxy, "output_limit") == 1, "it is cut")
    finally:
        shards.thaw(frozen)
    assert good.ask("DEL", giant, slow) == 2
    serves(good, "good")


@pytest.mark.parametrize("is_frozen", [False, True], ids=["at once", "with a shard missing"])
def test_values_gathered_from_shards_count_for_the_output_limit(
    start: Callable[..., Proxy], wire: Open, shards: Fleet, is_frozen: bool
) -> None:
    proxy = start(limits={"client_output": "4MiB"}, timeouts={"reply": "30s"})
    client, good = wire(proxy, timeout=30), wire(proxy)
    names = [key_of(0), *(f"{{{key_of(1)}}}{number}" for number in range(8))]
    for name in names:
        size = 1 if name == names[0] else 20_000_000
        assert good.ask("SETRANGE", name, size, "x") == size + 1
    if is_frozen:
        shards.freeze(shards.shards[0].primary)
    try:
        with at_most(proxy, 32 * MIB):
            client.send(command("MGET", *names))
            wait_until(lambda: closed(proxy, "output_limit") == 1, "it is cut")
    finally:
        shards.thaw(shards.shards[0].primary)
    assert drain(client) == b""
    assert good.ask("DEL", *names) == len(names)
    serves(good, "good")


def test_small_parts_of_many_commands_count_together(
    start: Callable[..., Proxy], wire: Open, shards: Fleet
) -> None:
    proxy = start(limits={"client_output": "4MiB"}, timeouts={"reply": "30s"})
    client, good = wire(proxy), wire(proxy)
    missing, there = key_of(0), key_of(1)
    assert good.ask("MSET", missing, "x", there, "x" * 100_000) == b"OK"
    shards.freeze(shards.shards[0].primary)
    try:
        with at_most(proxy, 32 * MIB):
            client.send(command("MGET", missing, there) * 1000)
            wait_until(lambda: closed(proxy, "output_limit") == 1, "it is cut")
    finally:
        shards.thaw(shards.shards[0].primary)
    serves(good, "good")


def test_a_limit_of_zero_is_none(start: Callable[..., Proxy], wire: Open) -> None:
    limits = {"clients": 0, "request": 0, "client_output": 0, "in_flight": 0, "shard_queue": 0}
    connection = wire(start(buffers=0, limits=limits))
    value = "x" * 2_000_000
    connection.send(command("SET", "k", value) + command("GET", "k") * 5)
    assert connection.reply() == b"OK"
    assert [connection.reply() for _ in range(5)] == [value.encode()] * 5


def test_pipelines_deeper_than_the_window_lose_nothing(start: Callable[..., Proxy], wire: Open) -> None:
    proxy = start(limits={"in_flight": 4})
    connection = wire(proxy)
    count = 5000
    connection.send(b"".join(command("SET", f"p{i}", i) + command("GET", f"p{i}") for i in range(count)))
    for number in range(count):
        assert (connection.reply(), connection.reply()) == (b"OK", str(number).encode())


def test_clients_that_come_and_go_leave_nothing(start: Callable[..., Proxy], wire: Open) -> None:
    proxy = start()
    good = wire(proxy)
    serves(good, "good")
    with at_most(proxy, 16 * MIB):
        for number in range(1500):
            passing = wire(proxy)
            passing.send(command("GET", f"k{number}") * 3)
            passing.close()
    serves(good, "good")
    wait_clients(proxy, 1)
    assert restarts(proxy) == 0
