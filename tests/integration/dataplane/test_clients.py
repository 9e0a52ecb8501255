"""CLIENT LIST and KILL over clients in every state."""

from __future__ import annotations

import re
from collections.abc import Callable

from shardproxy.fleet import Fleet
from tests.fixtures.clients import Wire
from tests.fixtures.proxy import Proxy, wait_until

Ask = Callable[..., Wire]


def fields(admin: Wire, client: Wire, number: int) -> dict[str, str]:
    line = admin.ask("CLIENT", "LIST", "ID", number).decode()
    return dict(re.findall(r"([\w-]+)=(\S*)", line))


def test_list_shows_what_each_client_does(proxy: Proxy, fleet: Fleet, wire: Ask) -> None:
    admin = wire(proxy)
    clients = [wire(proxy) for _ in range(3)]
    subscriber, queueing, waiting = clients
    ids = [client.ask("CLIENT", "ID") for client in clients]
    subscriber.send_command("SUBSCRIBE", "a", "b")
    assert [subscriber.reply()[2] for _ in range(2)] == [1, 2]
    assert subscriber.ask("PSUBSCRIBE", "p*")[2] == 3
    queueing.ask("MULTI")
    queueing.ask("SET", "k", 1)
    waiting.send_command("BLPOP", "none", 0)
    wait_until(lambda: "b" in fields(admin, waiting, ids[2])["flags"], "it waits")

    seen = [fields(admin, client, number) for client, number in zip(clients, ids, strict=True)]
    assert [entry["flags"] for entry in seen] == ["P", "x", "b"]
    assert [(entry["sub"], entry["psub"], entry["multi"]) for entry in seen] == [
        *(("2", "1", "-1"), ("0", "0", "1"), ("0", "0", "-1"))
    ]
    assert [entry["cmd"] for entry in seen] == ["psubscribe", "set", "blpop"]


def test_a_killed_client_leaves_nothing(proxy: Proxy, fleet: Fleet, wire: Ask) -> None:
    admin, subscriber, waiting = wire(proxy), wire(proxy), wire(proxy)
    number = waiting.ask("CLIENT", "ID")
    assert subscriber.ask("SUBSCRIBE", "killed")[2] == 1
    waiting.send_command("BLPOP", "none", 0)
    wait_until(lambda: b" flags=b " in admin.ask("CLIENT", "LIST", "ID", number), "it waits")
    assert admin.ask("CLIENT", "KILL", "TYPE", "pubsub") == 1
    assert admin.ask("CLIENT", "KILL", "ID", number) == 1
    subscriber.expect_closed()
    waiting.expect_closed()
    assert admin.ask("RPUSH", "none", "kept") == 1
    assert admin.ask("LRANGE", "none", 0, -1) == [b"kept"], "nothing is taken for it"
    wait_until(lambda: admin.ask("PUBSUB", "NUMSUB", "killed") == [b"killed", 0], "so is the subscription")
