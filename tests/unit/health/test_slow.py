"""What engines say took them long is expected to take long again, for a while."""

from __future__ import annotations

import pytest

from shardproxy.health.slow import MAX_NAMES, REMEMBERED, SlowCall, SlowCommands, read_slow
from shardproxy.wire.reply import Failure, Reply

THEN = 1_800_000_000.0


@pytest.mark.parametrize(
    ("log", "calls"),
    [
        ([[7, 17, 612000, [b"LRANGE", b"l", b"0"], b"h:5", b""]], [(17, 0.612, "lrange", "lrange|l")]),
        ([[8, 1, 20, [b"config", b"SET", b"x"]]], [(1, 0.00002, "config", "config|set")]),
        ([[9, 1, 20, [b"ping"]]], [(1, 0.00002, "ping", None)]),
        ([[9, 1, 20, [b"get", b"\xff"]]], [(1, 0.00002, "get", None)]),
        ([[9, 1, 20, [b"\xff", b"get"]]], []),
        ([[1, 2, 3], "x", [1, 2, 3, []]], []),
        (Failure("NOPERM no"), []),
        (None, []),
    ],
)
def test_a_slow_log_is_read(log: Reply, calls: list[tuple[float, float, str, str | None]]) -> None:
    assert read_slow(log) == tuple(SlowCall(*call) for call in calls)


def is_command(name: str) -> bool:
    return name in ("config|set", "lrange|")


def noted(known: SlowCommands, *calls: SlowCall, now: float = THEN) -> SlowCommands:
    return known.noted(calls, 0.5, now, is_command)


def call(name: str, sub_name: str | None = None, seconds: float = 0.6, at: float = THEN) -> SlowCall:
    return SlowCall(at, seconds, name, sub_name)


def test_what_took_long_is_remembered_for_a_while_after_it_did() -> None:
    known = noted(SlowCommands(), call("lrange"), call("get", seconds=0.4))
    assert known.names == {"lrange"}
    known = noted(known, call("lrange"), now=THEN + 2000.0)  # it stays in the log
    assert noted(known, now=THEN + REMEMBERED - 1.0).names == {"lrange"}
    assert noted(known, call("lrange"), now=THEN + REMEMBERED).names == frozenset()
    again = noted(known, call("lrange", at=THEN + 2000.0), call("lrange"), now=THEN + 2000.0)
    assert noted(again, now=THEN + REMEMBERED).names == {"lrange"}


def test_what_took_long_long_ago_is_not_news_to_who_has_just_started() -> None:
    assert noted(SlowCommands(), call("lrange", at=THEN - REMEMBERED)).names == frozenset()


def test_a_clock_that_is_ahead_makes_nothing_last() -> None:
    known = noted(SlowCommands(), call("lrange", at=THEN + 1e6))
    assert noted(known, now=THEN + REMEMBERED).names == frozenset()


def test_an_argument_is_no_subcommand() -> None:
    known = noted(SlowCommands(), call("lrange", "lrange|mylist"), call("config", "config|set"))
    assert known.names == {"lrange", "config", "config|set"}


def test_the_names_are_bounded() -> None:
    known = noted(SlowCommands(), *(call(f"c{number}") for number in range(3 * MAX_NAMES)))
    assert len(known.names) == MAX_NAMES
