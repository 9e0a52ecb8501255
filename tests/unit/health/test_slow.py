"""What engines say took them long is expected to take long again, for a while."""

from __future__ import annotations

import pytest

from shardproxy.health.slow import MAX_NAMES, REMEMBERED, SlowCall, SlowCommands, read_slow
from shardproxy.wire.reply import Failure, Reply


@pytest.mark.parametrize(
    ("log", "calls"),
    [
        ([[7, 17, 612000, [b"LRANGE", b"l", b"0"], b"h:5", b""]], [(7, 0.612, ("lrange", "lrange|l"))]),
        ([[8, 1, 20, [b"config", b"SET", b"x"]]], [(8, 0.00002, ("config", "config|set"))]),
        ([[9, 1, 20, [b"ping"]]], [(9, 0.00002, ("ping",))]),
        ([[9, 1, 20, [b"get", b"\xff"]]], [(9, 0.00002, ("get",))]),
        ([[9, 1, 20, [b"\xff", b"get"]]], [(9, 0.00002, ("get",))]),
        ([[1, 2, 3], "x", [1, 2, 3, []]], []),
        (Failure("NOPERM no"), []),
        (None, []),
    ],
)  # fmt: skip
def test_a_slow_log_is_read(log: Reply, calls: list[tuple[int, float, tuple[str, ...]]]) -> None:
    assert read_slow(log) == tuple(SlowCall(*call) for call in calls)


def call(number: int, name: str, seconds: float = 0.6) -> SlowCall:
    return SlowCall(number, seconds, (name,))


def test_what_took_long_is_remembered_for_a_while() -> None:
    known = SlowCommands().noted("n", "1", [call(5, "lrange"), call(6, "get", 0.4)], 0.5, 10.0)
    assert known.names == {"lrange"}
    known = known.noted("n", "1", [call(5, "lrange")], 0.5, 2000.0)  # it stays in the log
    assert known.noted("n", "1", [], 0.5, 10.0 + REMEMBERED).names == frozenset()
    again = known.noted("n", "1", [call(7, "lrange")], 0.5, 2000.0)
    assert again.noted("n", "1", [], 0.5, 10.0 + REMEMBERED).names == {"lrange"}


def test_a_new_process_numbers_anew() -> None:
    known = SlowCommands().noted("n", "1", [call(5, "lrange")], 0.5, 10.0)
    assert known.noted("n", "2", [call(0, "hgetall")], 0.5, 11.0).names == {"lrange", "hgetall"}
    assert known.noted("m", "3", [call(0, "hgetall")], 0.5, 11.0).names == {"lrange", "hgetall"}
    assert known.noted("n", "1", [call(0, "hgetall")], 0.5, 11.0).names == {"lrange"}


def test_the_names_are_bounded() -> None:
    calls = [call(number, f"c{number}") for number in range(3 * MAX_NAMES)]
    known = SlowCommands().noted("n", "1", calls, 0.5, 10.0)
    assert len(known.names) == MAX_NAMES
