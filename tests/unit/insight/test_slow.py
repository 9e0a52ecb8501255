"""Which entry of an engine's slow log is about which request of the proxy's."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from shardproxy.dataplane.timings import Phases, TimedRequest, Tracing
from shardproxy.insight import slow, slow_desk
from shardproxy.insight.slow import EngineCall, SlowRequest, calls_read, slow_entry, slow_requests, trace_line
from shardproxy.nodes import NodeLinks
from shardproxy.wire.reply import Reply

NODE = "127.0.0.1:7001"
AT = 1_000_000_000
REQUEST = TimedRequest(
    id=1,
    at=AT * 1_000_000,
    microseconds=320_000,
    phases=Phases(waited=10_000, parked=0, upstream=305_000, client=5_000),
    command="eval",
    arguments=(b"EVAL", b"k", b"... (2 more arguments)"),
    key=b"k",
    client_id=7,
    client="10.0.0.1:5000",
    name=b"me\xff",
    user="default",
    db=0,
    slot=7629,
    shard=1,
    node=NODE,
    request_bytes=100,
    reply_bytes=4,
    outcome="ok",
    error="",
)
CALL = EngineCall(NODE, AT, 300_000, (b"eval", b"return 1", b"1", b"k"))


def test_the_engines_part_is_told_apart() -> None:
    [told] = slow_requests([REQUEST], [CALL])
    assert told.engine == 300_000
    assert told.phases == {
        "waited": 10_000,
        "parked": 0,
        "upstream": 5_000,
        "engine": 300_000,
        "client": 5_000,
    }


@pytest.mark.parametrize(
    "call",
    [
        replace(CALL, node="127.0.0.1:7002"),
        replace(CALL, at=AT - 10),
        replace(CALL, at=AT + 10),
        replace(CALL, words=(b"GET", b"k")),
        replace(CALL, words=(b"EVAL", b"return 1", b"1", b"other")),
        replace(CALL, microseconds=400_000),
    ],
)
def test_what_is_about_another_request_says_nothing_of_this_one(call: EngineCall) -> None:
    [told] = slow_requests([REQUEST], [call])
    assert told.engine is None
    assert told.phases["upstream"] == 305_000


def test_an_entry_is_about_one_request() -> None:
    found = slow_requests([REQUEST, replace(REQUEST, id=2)], [CALL])
    assert [one.engine for one in found] == [300_000, None]
    assert found[1].behind == CALL, "the engine was busy with that one"


def test_of_what_was_answered_at_once_one_was_waited_for() -> None:
    phases = Phases(waited=0, parked=0, upstream=305_000, client=0)
    slow, fast = (
        replace(REQUEST, phases=phases),
        replace(REQUEST, phases=phases, command="get", arguments=(b"GET", b"k")),
    )
    for order in ((slow, fast), (fast, slow)):
        found = {one.request.command: one for one in slow_requests(order, [CALL])}
        assert found["eval"].engine == 300_000
        assert (found["eval"].phases["waited"], found["eval"].phases["upstream"]) == (0, 5_000)
        assert (found["get"].phases["waited"], found["get"].phases["upstream"]) == (300_000, 5_000)
        assert found["get"].behind == CALL
    later = replace(fast, at=REQUEST.at + 1_000_000)
    [_, other] = slow_requests([slow, later], [CALL])
    assert (other.phases["waited"], other.phases["upstream"]) == (0, 305_000), "on another connection"


def test_a_transaction_has_what_its_commands_took() -> None:
    words = (b"EXEC", b"k", b"j")
    exec_ = replace(REQUEST, command="exec", arguments=words)
    calls = [
        replace(CALL, microseconds=200_000),
        replace(CALL, microseconds=90_000, words=(b"SORT", b"j")),
        replace(CALL, microseconds=4_000, words=(b"GET", b"other")),
    ]
    [slow] = slow_requests([exec_], calls)
    assert (slow.engine, slow.behind) == (290_000, None)
    assert slow.phases["upstream"] == 15_000


def test_what_kept_the_engine_busy_is_named_without_its_arguments() -> None:
    read = replace(REQUEST, command="get", arguments=(b"GET", b"k"))
    [told] = slow_requests([read], [replace(CALL, words=(b"EVAL", b"a value"))])
    assert slow_entry(told)["behind"] == {"command": "eval", "microseconds": 300_000}
    [quick] = slow_requests([read], [replace(CALL, microseconds=4_000)])
    assert quick.behind is None


def test_much_is_told_apart_without_comparing_all_with_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request is compared with calls of its node alone."""
    compared = 0
    for name in ("_is_about", "_is_before"):
        judged = getattr(slow, name)

        def counting(call: EngineCall, request: TimedRequest, judged: Any = judged) -> bool:
            nonlocal compared
            compared += 1
            return bool(judged(call, request))

        monkeypatch.setattr(slow, name, counting)
    nodes = [f"10.0.{at}.1:6379" for at in range(250)]
    calls = [
        replace(
            CALL,
            node=node,
            at=AT + at // 2,
            microseconds=300_000 - at,
            words=(b"EVAL", b"", b"1", b"%d" % at),
        )
        for node in nodes
        for at in range(128)
    ]
    requests = [replace(REQUEST, id=at, node=nodes[at % 250], key=b"%d" % (at // 250)) for at in range(512)]
    found = slow_requests(requests, calls)
    assert [one.engine for one in found] == [300_000 - at // 250 for at in range(512)]
    assert compared <= 512 * 2 * 16, "what is seconds away is not looked at"


async def test_nothing_waits_for_the_comparing(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    def compare(*_: object) -> tuple[SlowRequest, ...]:
        threads.append(threading.current_thread())
        return ()

    class Timed:
        async def slow_log(self, cluster: str, most: int) -> list[TimedRequest]:
            return [REQUEST]

        def trace(self, cluster: str, pattern: bytes, limit: int) -> Tracing:
            raise NotImplementedError

    monkeypatch.setattr(slow_desk, "slow_requests", compare)
    desk = slow_desk.SlowDesk(Timed(), dict, {}, lambda _: NodeLinks())
    await desk.slow("main", 128)
    assert threads
    assert threading.main_thread() not in threads


def test_many_nodes_are_asked_for_less_of_their_logs() -> None:
    asked = [slow_desk.entries_of(nodes) for nodes in (0, 1, 64, 250, 10_000)]
    assert asked == [128, 128, 128, 32, 16]


def test_entries_are_read_from_a_log_of_any_age() -> None:
    log: Reply = [
        [1, AT, 5, [b"GET", b"k"], b"127.0.0.1:1", b""],
        [2, AT, 6, [b"GET"]],
        [3, AT, 7, []],
        b"nonsense",
    ]
    assert [call.microseconds for call in calls_read(NODE, log)] == [5, 6]
    assert calls_read(NODE, None) == ()


def test_an_entry_is_text() -> None:
    entry = slow_entry(SlowRequest(replace(REQUEST, arguments=(b"GET", b"\xffk"), node="")))
    assert (entry["at"], entry["arguments"], entry["name"]) == (float(AT), ["GET", r"\xffk"], r"me\xff")
    assert entry["node"] is None
    line = trace_line(replace(REQUEST, key=None))
    assert (line["key"], line["slot"], line["request_bytes"]) == (None, 7629, 100)
    assert "arguments" not in line
