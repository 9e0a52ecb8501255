"""One value that is no value of ours harms nothing beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from shardproxy.model import Address
from shardproxy.model.replication import ShardKey
from shardproxy.store.etcd.keep import Keep
from shardproxy.store.etcd.keys import Keys
from shardproxy.store.etcd.messages import Entry
from shardproxy.store.etcd.position import Position
from shardproxy.store.etcd.record_writer import record_of, record_value
from shardproxy.store.etcd.shown import Shown
from shardproxy.store.interface import StoreUnavailableError
from shardproxy.store.record import ShardRecord, ShardState

KEYS = Keys("/shardproxy")
A = Address("10.0.0.1", 7001)
RECORD = ShardRecord(ShardKey("main", 0), 1, ShardState.OK, A, (A,))
NAMES = [
    "leader/main",
    "shard",
    "shard/main/0",
    "shard/main/x",
    "member/other",
    "ack/other/main",
    "vote/other/main",
    "note/main/event/1",
    "note/main/what/1",
    "x/y",
]
VALUES = [
    b"",
    b"7",
    b'"x"',
    b"[]",
    b"[1]",
    b"{}",
    b"null",
    b"\xff\xfe",
    b'{"a":',
    b'{"0":"x"}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value[:9]))
@pytest.mark.parametrize("key", NAMES)
def test_what_is_not_understood_is_passed_over(key: str, value: bytes) -> None:
    shown = Shown(KEYS, "one")
    shown.follow(frozenset({"main"}), [])
    good = Entry(KEYS.shard(ShardKey("main", 1)), record_value(None, RECORD, 5), 6)
    shown.show([Entry(KEYS.first + key, value, 5, 5), good])
    assert shown.records[ShardKey("main", 1)] == record_of(good)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value[:9]))
def test_a_record_that_is_none_is_not_replaced_but_said(value: bytes) -> None:
    with pytest.raises(StoreUnavailableError, match="delete its key"):
        record_value(Entry(KEYS.shard(RECORD.key), value, 5), RECORD, 5)


async def test_any_bytes_are_kept(tmp_path: Path) -> None:
    keep = Keep(tmp_path / "kept", KEYS)
    entry = Entry(KEYS.first + "note/main/event/1", b"\xff\x00", 5, 4)
    other = Entry(KEYS.first + "shard/main/0", b"\xff\x00\xc3", 6, 4)
    (tmp_path / "kept").write_bytes(keep._encode([entry, other], Position("1", 1, 6)))
    kept = keep.read()
    assert kept is not None
    assert kept.entries == {other.key: other}
