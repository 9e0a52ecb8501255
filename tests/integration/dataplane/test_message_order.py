"""A publisher's messages over many channels are heard in order, as on one Redis; who left is not counted."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable

import pytest

from shardproxy.fleet import Fleet, RedisNode
from tests.fixtures.clients import ReplyError, Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Proxy, StartProxy, config_of, wait_until

PUBLISHERS, MESSAGES, CHANNELS = 3, 1000, 20
Ask = Callable[..., Wire]
NAMES = [f"c:{n}" for n in range(CHANNELS)]


def nodes(fleet: Fleet) -> list[RedisNode]:
    return [shard.primary for shard in fleet.shards if isinstance(shard.primary, RedisNode)]


def subscriber(proxy: Proxy, wire: Ask, *words: str) -> Wire:
    client = wire(proxy)
    client.send_command(*words)
    for _ in words[1:]:
        assert client.reply()[0] == words[0].lower().encode()
    return client


def publish(client: Wire, publisher: int) -> None:
    """In one pipeline, each on the next channel in turn."""
    for n in range(MESSAGES):
        client.send_command("PUBLISH", NAMES[n % CHANNELS], f"{publisher} {n}")
    assert all(client.reply() > 0 for _ in range(MESSAGES))


def heard(client: Wire) -> dict[int, list[int]]:
    """The numbers of each publisher's messages, as they came."""
    found: dict[int, list[int]] = defaultdict(list)
    for _ in range(PUBLISHERS * MESSAGES):
        reply = client.reply()
        publisher, number = map(int, reply[-1].split())
        assert reply[-2] == NAMES[number % CHANNELS].encode()
        found[publisher].append(number)
    return found


def published(fleet: Fleet) -> list[int]:
    """How often each primary was asked to publish."""
    lines = [str(node.ask("INFO", "commandstats"), "utf-8").splitlines() for node in nodes(fleet)]
    counts = [[line for line in of_node if line.startswith("cmdstat_publish:")] for of_node in lines]
    return [int(found[0].split("calls=")[1].split(",")[0]) if found else 0 for found in counts]


def all_publish(proxy: Proxy, wire: Ask) -> list[dict[int, list[int]]]:
    """What four subscribers hear of several publishers at once."""
    listeners = [
        subscriber(proxy, wire, *words)
        for words in (("SUBSCRIBE", *NAMES), ("PSUBSCRIBE", "c:*"))
        for _ in range(2)
    ]
    threads = [threading.Thread(target=publish, args=(wire(proxy), n)) for n in range(PUBLISHERS)]
    for thread in threads:
        thread.start()
    found = [heard(listener) for listener in listeners]
    for thread in threads:
        thread.join()
    for listener in listeners:
        assert listener.ask("PING", "end") == [b"pong", b"end"]  # nothing came twice
    return found


def test_channels_are_heard_in_their_publishers_order(
    fleet: Fleet, start_proxy: StartProxy, wire: Ask
) -> None:
    proxy = start_proxy(config_of(fleet, workers=3))
    in_order = {publisher: list(range(MESSAGES)) for publisher in range(PUBLISHERS)}
    assert all(found == in_order for found in all_publish(proxy, wire))
    assert sorted(published(fleet)) == [0, 0, PUBLISHERS * MESSAGES]


def test_spread_channels_are_heard_whole(fleet: Fleet, start_proxy: StartProxy, wire: Ask) -> None:
    proxy = start_proxy(config_of(fleet, workers=3, pubsub="spread"))
    for found in all_publish(proxy, wire):
        assert {publisher: sorted(numbers) for publisher, numbers in found.items()} == {
            publisher: list(range(MESSAGES)) for publisher in range(PUBLISHERS)
        }
    assert min(published(fleet)) > 0


def test_patterns_that_match_events_too_hear_each_once(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: Ask
) -> None:
    fleet = start_fleet(shards=3, replicas=0, args=["--notify-keyspace-events", "Ex$"])
    proxy = start_proxy(config_of(fleet, workers=2))
    listener, other = subscriber(proxy, wire, "PSUBSCRIBE", "*"), wire(proxy)
    expected: list[list[bytes]] = []
    for n in range(30):
        assert other.ask("SET", f"key:{n}", n) == b"OK"
        expected.append([b"pmessage", b"*", b"__keyevent@0__:set", f"key:{n}".encode()])
        assert other.ask("PUBLISH", f"c:{n}", n) == 1
        expected.append([b"pmessage", b"*", f"c:{n}".encode(), str(n).encode()])
    assert sorted(listener.reply() for _ in expected) == sorted(expected)  # two shards keep no order
    assert listener.ask("PING") == [b"pong", b""]


@pytest.mark.parametrize("how", ["unsubscribes", "closes"])
def test_who_has_left_is_not_counted(how: str, fleet: Fleet, start_proxy: StartProxy, wire: Ask) -> None:
    proxy = start_proxy(config_of(fleet, workers=2))
    stays, publisher = subscriber(proxy, wire, "SUBSCRIBE", "both"), wire(proxy)
    for n in range(100):
        leaving = subscriber(proxy, wire, "SUBSCRIBE", "one", "both")
        assert publisher.ask("PUBLISH", "both", n) == 2
        if how == "unsubscribes":
            leaving.send_command("UNSUBSCRIBE", "one", "both")
            while leaving.reply()[-1] != 0:
                pass
        else:
            leaving.close()
            wait_until(lambda: publisher.ask("PUBSUB", "NUMSUB", "one") == [b"one", 0], "it is gone")
        assert [publisher.ask("PUBLISH", name, n) for name in ("one", "both")] == [0, 1]
        assert publisher.ask("PUBSUB", "CHANNELS") == [b"both"]
    assert [stays.reply()[-1] for _ in range(200)] == [str(n // 2).encode() for n in range(200)]


def test_the_home_of_channels_fails_over(start_fleet: StartFleet, start_proxy: StartProxy, wire: Ask) -> None:
    fleet = start_fleet(shards=3, replicas=1)
    proxy = start_proxy(config_of(fleet, workers=2))
    listener, publisher = subscriber(proxy, wire, "PSUBSCRIBE", "c:*"), wire(proxy)
    kept: list[int] = []

    def publish_some(numbers: range) -> None:
        for n in numbers:
            publisher.send_command("PUBLISH", NAMES[n % CHANNELS], n)
        replies = [publisher.reply() for _ in numbers]
        kept.extend(n for n, reply in zip(numbers, replies, strict=True) if not isinstance(reply, ReplyError))

    publish_some(range(100))
    home = fleet.shards[0].primary
    assert home is not None
    fleet.kill(home)
    publish_some(range(100, 200))
    wait_until(lambda: publisher.ask("PUBLISH", "c:0", -1) == 1, "it is subscribed at the next primary")
    before = len(kept)
    publish_some(range(200, 300))
    assert len(kept) == before + 100
    got: list[int] = []
    while not got or got[-1] != 299:
        got.append(int(listener.reply()[-1]))
    got = [n for n in got if n >= 0]
    assert got == sorted(set(got)), "in order, and none twice"
    assert set(range(100)) | set(range(200, 300)) <= set(got)
