"""What a rule says of a key: its parts, how long it lives, and how old it is."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardproxy.caching.rules import Age, Rule, compile_rules, keys_of, rule_of
from shardproxy.config.caching import Rule as RuleConfig


def rule(match: str = "user:{id}", **more: Any) -> Rule:
    values = {"match": match, "ttl": "100s", "load": {"source": "s", "sql": "select 1"}, **more}
    return compile_rules([RuleConfig.model_validate(values)])[0]


def test_parts_are_text_and_the_key_is_among_them() -> None:
    assert rule("user:{id}:{what}").parts("user:é:x:y".encode()) == {
        "id": "é",
        "what": "x:y",
        "key": "user:é:x:y",
    }
    assert rule().parts(b"user:") is None
    assert rule().parts(b"user:\xff") is None, "no database has text that is not UTF-8"
    assert rule().parts(b"user:a\0b") is None


def test_the_first_rule_that_matches_counts() -> None:
    rules = compile_rules([rule("user:{id}:x").config, rule("user:{id}").config, rule("user:*").config])
    assert [one.index for one in rules] == [0, 1, 2]
    assert [
        getattr(rule_of(rules, key), "index", None) for key in (b"user:1:x", b"user:1", b"user:", b"u")
    ] == [
        0,
        1,
        2,
        None,
    ]


def test_parts_name_keys_where_nothing_else_is_open() -> None:
    rules = compile_rules(
        rule(match).config
        for match in ("user:{id}", "u:{id}:{n}", "u:{id}:*", "u:{id}[ab]", "all", "u:{x}:{id}")
    )
    assert keys_of(rules, {"id": 42}) == [b"user:42"]
    assert keys_of(rules, {"id": "a:b", "n": "é", "more": 1}) == [b"user:a:b", "u:a:b:é".encode()]
    assert keys_of(rules, {}) == []


@given(st.floats(0, 0.9), st.integers(1, 10**6), st.integers(0, 10**6), st.integers())
def test_a_life_is_at_most_as_long_as_it_says_and_stale_on_top(
    jitter: float, ttl: int, serve: int, seed: int
) -> None:
    one = rule(ttl=ttl, jitter=jitter, stale=serve)
    milliseconds = one.ttl_ms(Random(seed))
    assert (1 - jitter) * ttl * 1000 - 1 <= milliseconds - serve * 1000 <= ttl * 1000


@pytest.mark.parametrize(
    ("left", "age", "due"),
    [(140_000, Age.FRESH, 80_000), (60_001, Age.FRESH, 1), (60_000, Age.AHEAD, 0), (40_001, Age.AHEAD, 0),
     (40_000, Age.STALE, 0), (1, Age.STALE, 0), (-1, Age.FRESH, 3_600_000)],
)  # fmt: skip
def test_the_age_of_a_value_is_known_from_what_is_left_of_its_life(left: int, age: Age, due: int) -> None:
    one = rule(ttl=100, stale=40, refresh_ahead=0.8)
    assert one.age(left) is age
    assert one.due_in(left) == due


def test_without_stale_and_refresh_ahead_a_value_is_fresh_for_all_its_life() -> None:
    assert rule().age(1) is Age.FRESH
    assert not rule().config.checks
    assert rule(stale=1).config.checks
    assert rule(refresh_ahead=0.5).config.checks


def test_a_rule_that_only_writes_leaves_the_ttl_to_clients() -> None:
    write = {"mode": "through", "source": "s", "upsert": "insert into t values (:id, :value)"}
    one = compile_rules([RuleConfig.model_validate({"match": "a:{id}", "write": write})])[0]
    assert one.ttl_ms(Random(1)) == 0
    assert (one.config.loads, one.config.writes, one.config.checks) == (False, True, False)
    assert (one.source, one.write_source, one.mode.value) == (None, "s", "through")
