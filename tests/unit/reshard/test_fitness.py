"""Which engines take whose keys."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shardproxy.model import Address
from shardproxy.reshard.fitness import warnings_of, why_unfit
from shardproxy.reshard.survey import Survey, survey_read
from shardproxy.wire.reply import Failure, Reply

MIB = 1 << 20
A = Survey(Address("a", 1), version=(7, 0, 15), has_replicas=True, most=100 * MIB)
B = Survey(Address("b", 1), version=(7, 0, 15), has_replicas=True, most=100 * MIB)


@pytest.mark.parametrize(
    ("source", "target", "why"),
    [
        ({}, {}, None),
        ({}, {"version": (7, 2, 4)}, None),
        ({}, {"engine": "valkey", "version": (8, 0, 1)}, None),
        ({"engine": "valkey", "version": (8, 0, 1)}, {"version": (7, 4)}, None),
        ({"version": (7, 2, 4)}, {}, "cannot read what a:1"),
        ({"version": (7, 4)}, {"engine": "valkey", "version": (9, 0)}, "cannot read what a:1"),
        ({"engine": "valkey", "version": (9, 0)}, {"version": (8, 0)}, "cannot read what a:1"),
        ({"version": ()}, {}, "which is not known here"),
        ({"databases": (0, 3)}, {}, "databases 3 have keys"),
        ({}, {"databases": (1,)}, "databases 1 have keys"),
        ({"modules": {"vector": 1}}, {}, "b:1 lacks the module vector of a:1"),
        ({"modules": {"vector": 1}}, {"modules": {"vector": 2}}, None),
        ({"clock": 0.3}, {"clock": -0.3}, "clocks of a:1 and b:1 are 0.6 s apart"),
        ({"clock": 0.3, "clock_error": 0.2}, {"clock": -0.3}, None),
        ({}, {"used": 75 * MIB}, "would be full: about 10 MiB come to 75 MiB used of 100 MiB"),
        ({}, {"used": 69 * MIB}, None),
        ({}, {"used": 75 * MIB, "most": 0}, None),
        ({}, {"used": 96 * MIB, "evicts": "allkeys-lru"}, "evicts keys now"),
        ({}, {"used": 96 * MIB, "evicts": "volatile-ttl"}, "evicts keys now"),
        ({"bulk_most": 1 << 30}, {"bulk_most": 1 << 29}, "set proto-max-bulk-len alike"),
    ],
)
def test_who_takes_whose_keys(source: dict[str, object], target: dict[str, object], why: str | None) -> None:
    found = why_unfit(replace(A, **source), replace(B, **target), 10 * MIB)  # type: ignore[arg-type]
    assert (found is None) if why is None else (found is not None and why in found)


def test_what_cannot_be_told_is_said() -> None:
    source, target = replace(A, has_replicas=False, modules=None), replace(B, most=0)
    assert len(list(warnings_of(source, target))) == 3
    assert list(warnings_of(A, B)) == []


def test_an_engine_is_read_by_what_it_answers() -> None:
    info = (
        b"# Server\r\nredis_version:7.0.15\r\nused_memory:2048\r\nused_memory_dataset:1024\r\n"
        b"maxmemory:4096\r\nmaxmemory_policy:allkeys-lru\r\nevicted_keys:3\r\nconnected_slaves:1\r\nused_cpu_user:1.5\r\n"
        b"used_cpu_sys:0.5\r\n# Keyspace\r\ndb0:keys=12,expires=3,avg_ttl=0\r\ndb3:keys=1,expires=0\r\n"
    )
    modules: Reply = [[b"name", b"search", b"ver", 20800, b"path", b"/m.so", b"args", []]]
    replies: list[Reply] = [[b"1000", b"500000"], info, modules, [b"proto-max-bulk-len", b"536870912"]]
    found = survey_read(Address("a", 1), replies, began=999.9, ended=1000.1)
    assert found == Survey(
        Address("a", 1),
        "redis",
        (7, 0, 15),
        12,
        (0, 3),
        2048,
        1024,
        4096,
        "allkeys-lru",
        3,
        True,
        2.0,
        {"search": 20800},
        536870912,
        pytest.approx(0.5),  # type: ignore[arg-type]
        pytest.approx(0.1),  # type: ignore[arg-type]
    )


def test_what_an_engine_refuses_to_say_is_not_known() -> None:
    refused = Failure("NOPERM this user has no permissions")
    found = survey_read(Address("a", 1), [refused, b"redis_version:7.0.15\r\n", refused, refused], 0.0, 0.0)
    assert found.modules is None
    assert found.bulk_most is None
    assert found.clock == 0
