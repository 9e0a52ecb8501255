"""How many shards there are to be, as configured; each mistake says what to write."""

from __future__ import annotations

import pytest

from shardproxy.config import ConfigError, RedisCluster, parse_config

TEXT = """
clusters:
  main:
    engine: redis
    endpoints: {configuration: 127.0.0.1:7000}
    shards: [{nodes: ["a:1"]}]
"""


def read(scaling: str, more: str = "") -> RedisCluster:
    found = parse_config(f"{TEXT}    scaling: {scaling}\n{more}").clusters["main"]
    assert isinstance(found, RedisCluster)
    return found


def test_it_is_read_with_elasticache_s_cooldowns() -> None:
    scaling = read("{shards: {min: 2, max: 8}, target: {cpu: 60%, memory: 70.5 %}}").scaling
    assert scaling is not None
    assert (scaling.shards.min, scaling.shards.max) == (2, 8)
    assert (scaling.target.cpu, scaling.target.memory) == (0.6, 0.705)
    assert (scaling.cooldown.out, scaling.cooldown.in_, scaling.acts) == (600, 900, True)
    assert '"cpu":"60%"' in scaling.model_dump_json()
    other = read("{shards: {max: 8}, target: {cpu: 60%}, cooldown: {out: 1m, in: 2m}, acts: false}").scaling
    assert other is not None
    assert (other.shards.min, other.cooldown.out, other.cooldown.in_, other.acts) == (1, 60, 120, False)


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("{shards: {max: 8}}", "target"),
        ("{shards: {max: 8}, target: {}}", "says nothing"),
        ("{shards: {min: 3, max: 2}, target: {cpu: 60%}}", "min is 3, and max is 2"),
        ("{shards: {max: 8}, target: {cpu: 0.6}}", "is not a percentage"),
        ("{shards: {max: 8}, target: {cpu: 600%}}", "between 1% and 100%"),
        ("{shards: {max: 251}, target: {cpu: 60%}}", "250"),
    ],
)
def test_a_mistake_is_said(written: str, why: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read(written)
    assert why in str(raised.value)


def test_who_else_decides_decides_about_that_too() -> None:
    with pytest.raises(ConfigError) as raised:
        read(
            "{shards: {max: 8}, target: {cpu: 60%}}",
            "    topology: {from: redis-cluster, seeds: ['a:1']}\n",
        )
    assert "leave out scaling" in str(raised.value)
