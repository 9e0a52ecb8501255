"""What nodes keep on disk, as configured; each mistake says what to write."""

from __future__ import annotations

from typing import Any

import pytest

from shardproxy.config import ConfigError, RedisCluster, parse_config

TEXT = """
clusters:
  main:
    engine: redis
    endpoints: {configuration: 127.0.0.1:7000}
    shards: [{nodes: ["a:1"]}]
"""


def read(persistence: str, more: str = "") -> RedisCluster:
    found = parse_config(f"{TEXT}    persistence: {persistence}\n{more}").clusters["main"]
    assert isinstance(found, RedisCluster)
    return found


@pytest.mark.parametrize(
    ("written", "settings"),
    [
        ("{aof: always}", {"appendfsync": "always", "appendonly": "yes"}),
        ("{aof: everysec}", {"appendfsync": "everysec", "appendonly": "yes"}),
        ("{aof: no}", {"appendonly": "no"}),
        ("{aof: false}", {"appendonly": "no"}),
        ("{rdb: no}", {"save": ""}),
        ("{rdb: [{after: 15m}]}", {"save": "900 1"}),
        (
            "{aof: everysec, rdb: [{after: 1h, changes: 1}, {after: 1500ms, changes: 100}]}",
            {"save": "3600 1 2 100", "appendfsync": "everysec", "appendonly": "yes"},
        ),
    ],
)
def test_it_becomes_the_engine_s_settings(written: str, settings: dict[str, str]) -> None:
    persistence = read(written).persistence
    assert persistence is not None
    assert persistence.settings == settings
    assert list(persistence.settings)[-1:] in (["appendonly"], ["save"]), "switched on once it knows how"


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("{}", "says nothing"),
        ("{aof: sometimes}", "always"),
        ("{rdb: []}", "has no entries"),
        ("{rdb: [{changes: 1}]}", "after"),
        ("{rdb: [{after: 1h, changes: 0}]}", "1"),
        (f"{{rdb: [{', '.join(['{after: 1h}'] * 11)}]}}", "more than 10"),
    ],
)
def test_a_mistake_is_said(written: str, why: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read(written)
    assert why in str(raised.value)


def test_nothing_is_set_where_something_else_decides() -> None:
    decider: Any = "    topology: {from: redis-cluster, seeds: ['a:1']}\n"
    with pytest.raises(ConfigError) as raised:
        read("{aof: always}", decider)
    assert "the proxy sets nothing there" in str(raised.value)
