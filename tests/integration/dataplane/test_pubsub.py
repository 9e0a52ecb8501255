"""Publish and subscribe over shards: every message once, in the publisher's order, to everybody who reads."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable

import pytest

from shardproxy.fleet import Fleet, RedisNode
from tests.fixtures.clients import Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Proxy, StartProxy, config_of, wait_until

PUBLISHERS, MESSAGES, CHANNELS = 4, 300, 6
TOTAL = PUBLISHERS * MESSAGES
Ask = Callable[..., Wire]
Message = tuple[bytes, int, int]  # its kind, publisher and number


def nodes(fleet: Fleet) -> list[RedisNode]:
    return [shard.primary for shard in fleet.shards if isinstance(shard.primary, RedisNode)]


def subscribed(client: Wire, *words: str) -> Wire:
    """Subscribe; a message may come between two confirmations."""
    client.send_command(*words)
    for name in words[1:]:
        while (reply := client.reply())[0] != words[0].lower().encode():
            pass
        assert reply[1] == name.encode()
    return client


def messages(client: Wire, count: int) -> list[Message]:
    found = []
    for _ in range(count):
        reply = client.reply()
        publisher, number = reply[-1].split()
        found.append((reply[0], int(publisher), int(number)))
    return found


def assert_complete(found: Iterable[Message]) -> None:
    """Every message of every publisher, once and in its order."""
    seen: dict[int, list[int]] = defaultdict(list)
    for _, publisher, number in found:
        seen[publisher].append(number)
    assert dict(seen) == {publisher: list(range(MESSAGES)) for publisher in range(PUBLISHERS)}


def messages_for_ever(client: Wire) -> None:
    while True:
        client.reply()


@pytest.mark.parametrize("resp", [2, 3])
def test_every_message_comes_once_and_in_its_publishers_order(resp: int, proxy: Proxy, wire: Ask) -> None:
    channels = [f"news:{n}" for n in range(CHANNELS)]

    def subscriber(*requests: tuple[str, ...]) -> Wire:
        client = wire(proxy)
        if resp == 3:
            client.ask("HELLO", 3)
        for request in requests:
            subscribed(client, *request)
        return client

    every = ("SUBSCRIBE", *channels)
    whole = [subscriber(request) for request in (every, ("PSUBSCRIBE", "news:*")) for _ in range(3)]
    both = subscriber(every, ("PSUBSCRIBE", "news:*"))
    one = subscriber(("SUBSCRIBE", channels[0]))

    def publish(publisher: int, client: Wire) -> None:
        for n in range(MESSAGES):  # within one channel a publisher's messages keep their order
            client.send_command("PUBLISH", channels[publisher], f"{publisher} {n}")
        assert all(client.reply() > 0 for _ in range(MESSAGES))

    threads = [threading.Thread(target=publish, args=(n, wire(proxy))) for n in range(PUBLISHERS)]
    for thread in threads:
        thread.start()
    for client in whole:
        assert_complete(messages(client, TOTAL))
    found = messages(both, 2 * TOTAL)
    assert_complete(message for message in found if message[0] == b"message")
    assert_complete(message for message in found if message[0] == b"pmessage")
    assert messages(one, MESSAGES) == [(b"message", 0, n) for n in range(MESSAGES)]
    for thread in threads:
        thread.join()
    for client in (*whole, both, one):
        end = client.ask("PING", "end")
        assert end == ([b"pong", b"end"] if resp == 2 else b"end")  # nothing came twice


def test_what_scripts_and_transactions_publish_is_heard(proxy: Proxy, wire: Ask) -> None:
    client, other = subscribed(wire(proxy), "SUBSCRIBE", "news"), wire(proxy)
    for n in range(20):  # over keys of all shards
        assert other.ask("EVAL", "return redis.call('PUBLISH', 'news', ARGV[1])", 1, f"k:{n}", f"0 {n}") > 0
    for n in range(20):
        other.ask("MULTI")
        other.ask("SET", f"k:{n}", n)
        other.ask("PUBLISH", "news", f"1 {n}")
        assert other.ask("EXEC")[0] == b"OK"
    got = messages(client, 40)
    for publisher in (0, 1):
        assert sorted(n for _, who, n in got if who == publisher) == list(range(20))


def test_shard_channels(proxy: Proxy, wire: Ask) -> None:
    clients = {f"c:{n}": subscribed(wire(proxy), "SSUBSCRIBE", f"c:{n}") for n in range(8)}
    other = wire(proxy)
    for name in clients:
        assert other.ask("SPUBLISH", name, name.upper()) == 1
    for name, client in clients.items():
        assert client.reply() == [b"smessage", name.encode(), name.upper().encode()]
    for name, client in clients.items():
        assert client.ask("SUNSUBSCRIBE") == [b"sunsubscribe", name.encode(), 0]
        wait_until(lambda name=name: other.ask("SPUBLISH", name, "x") == 0, "its node knows")  # type: ignore[misc]


def test_nodes_forget_what_nobody_hears(proxy: Proxy, fleet: Fleet, wire: Ask) -> None:
    first, second = (subscribed(wire(proxy), "SUBSCRIBE", "gone") for _ in range(2))
    subscribed(first, "PSUBSCRIBE", "gone:*")

    def known() -> list[tuple[object, object]]:
        return [
            (node.ask("PUBSUB", "CHANNELS", "gone"), node.ask("PUBSUB", "NUMPAT")) for node in nodes(fleet)
        ]

    assert known() == [([b"gone"], 1)] * 3
    second.close()
    first.ask("PUNSUBSCRIBE", "gone:*")
    wait_until(lambda: known() == [([b"gone"], 0)] * 3, "the pattern is given up")
    first.close()
    wait_until(lambda: known() == [([], 0)] * 3, "the channel is given up")


def test_keyspace_events_of_all_shards_are_heard(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: Ask
) -> None:
    fleet = start_fleet(shards=3, replicas=0, args=["--notify-keyspace-events", "KEA"])
    proxy = start_proxy(fleet)
    client = subscribed(wire(proxy), "PSUBSCRIBE", "__keyevent@*__:set")
    names = [f"key:{n}".encode() for n in range(60)]
    other = wire(proxy)
    for name in names:
        other.ask("SET", name, 1)
    assert min(node.ask("DBSIZE") for node in nodes(fleet)) > 0
    got = [client.reply() for _ in names]
    assert sorted(reply[3] for reply in got) == sorted(names)
    assert {tuple(reply[:3]) for reply in got} == {
        (b"pmessage", b"__keyevent@*__:set", b"__keyevent@0__:set")
    }


def test_a_slow_subscriber_is_cut_and_the_others_go_on(
    fleet: Fleet, start_proxy: StartProxy, wire: Ask
) -> None:
    proxy = start_proxy(config_of(fleet, workers=1, limits={"client_output": "1mb"}))
    slow, fast = (subscribed(wire(proxy), "SUBSCRIBE", "flood") for _ in range(2))
    publisher, payload = wire(proxy), b"x" * 100_000
    for _ in range(200):
        assert publisher.ask("PUBLISH", "flood", payload) > 0
        assert fast.reply() == [b"message", b"flood", payload]
    wait_until(
        lambda: (
            proxy.metrics().get('shardproxy_clients_closed_total{cluster="main",reason="output_limit"}') == 1
        ),
        "the slow one is cut",
    )
    assert publisher.ask("PUBSUB", "NUMSUB", "flood") == [b"flood", 1]
    with pytest.raises((EOFError, ConnectionResetError)):
        messages_for_ever(slow)


def test_subscriptions_survive_a_restart_of_their_node(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: Ask
) -> None:
    fleet = start_fleet(shards=2, replicas=0)
    proxy = start_proxy(config_of(fleet, workers=1))
    client, publisher = wire(proxy), wire(proxy)
    subscribed(subscribed(client, "SUBSCRIBE", "a", "b", "c"), "PSUBSCRIBE", "p*")
    gaps = 'shardproxy_subscription_gaps_total{cluster="main"}'
    assert proxy.metrics()[gaps] == 0
    node = nodes(fleet)[0]
    fleet.kill(node)
    wait_until(lambda: proxy.metrics()[gaps] == 1, "the gap is counted")
    fleet.restart(node)
    wait_until(
        lambda: node.ask("PUBSUB", "NUMSUB", "a", "b", "c") == [b"a", 1, b"b", 1, b"c", 1], "subscribed anew"
    )
    wait_until(lambda: node.ask("PUBSUB", "NUMPAT") == 1, "subscribed anew")
    node.ask("PUBLISH", "b", "back")
    assert client.reply() == [b"message", b"b", b"back"]
    for name in ("a", "b", "c", "p1"):
        assert publisher.ask("PUBLISH", name, name) == 1
        assert client.reply()[-1] == name.encode()


def test_a_node_that_is_down_holds_no_subscriber_up(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: Ask
) -> None:
    fleet = start_fleet(shards=2, replicas=0)
    proxy = start_proxy(config_of(fleet, workers=1))
    up, down = nodes(fleet)
    fleet.kill(down)
    client = subscribed(wire(proxy), "PSUBSCRIBE", "*")
    up.ask("PUBLISH", "x", "heard")
    assert client.reply()[-1] == b"heard"
    fleet.restart(down)
    wait_until(lambda: down.ask("PUBSUB", "NUMPAT") == 1, "it is subscribed when it is back")
    down.ask("PUBLISH", "x", "heard too")
    assert client.reply()[-1] == b"heard too"


def test_a_node_that_hangs_holds_no_subscriber_up(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: Ask
) -> None:
    fleet = start_fleet(shards=2, replicas=0)
    proxy = start_proxy(config_of(fleet, workers=1, timeouts={"reply": "500ms", "connect": "500ms"}))
    up, hung = nodes(fleet)
    client, late = wire(proxy), wire(proxy)
    subscribed(client, "SUBSCRIBE", "x")
    hung.freeze()
    try:
        subscribed(client, "SUBSCRIBE", "y")
        subscribed(late, "SUBSCRIBE", "x", "z")
        up.ask("PUBLISH", "x", "heard")
        assert [client.reply()[-1], late.reply()[-1]] == [b"heard", b"heard"]
        assert proxy.metrics()['shardproxy_subscription_gaps_total{cluster="main"}'] == 1
    finally:
        hung.thaw()
    wait_until(lambda: hung.ask("PUBSUB", "NUMSUB", "x", "y", "z")[1::2] == [1, 1, 1], "it is subscribed")
    hung.ask("PUBLISH", "z", "heard, too")
    assert late.reply()[-1] == b"heard, too"
