"""Puts records: the token and the revision are compared where the record is, in one transaction.

{"token": the leader's revision, ...the record}      changed: 0 = at the revision of this very value
"""

from __future__ import annotations

import json
from dataclasses import replace

from shardproxy.store.cas import record_replace
from shardproxy.store.codec import record_decode, record_encode
from shardproxy.store.etcd.errors import DataLostError
from shardproxy.store.etcd.keys import Keys
from shardproxy.store.etcd.leadership import Leaders
from shardproxy.store.etcd.messages import Entry, is_at, is_created, to_put, to_read
from shardproxy.store.etcd.position import REMEDY
from shardproxy.store.etcd.reader import Reader
from shardproxy.store.etcd.transactions import Transactions, found_of
from shardproxy.store.interface import (
    ConflictError,
    Leadership,
    LeadershipLostError,
    StoreUnavailableError,
)
from shardproxy.store.record import ShardRecord

# what decoding raises for a value that is something else, or of another version
NOT_UNDERSTOOD = (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError)
SEEN_WITHIN = 4.0  # seconds for the watch to tell of it


class RecordWriter:
    """Replaces records for as long as this process leads their cluster."""

    def __init__(self, keys: Keys, transactions: Transactions, leaders: Leaders, reader: Reader) -> None:
        self._keys = keys
        self._transactions = transactions
        self._leaders = leaders
        self._reader = reader

    async def put(self, record: ShardRecord, leadership: Leadership) -> ShardRecord:
        """Raise ConflictError, LeadershipLostError or StoreUnavailableError."""
        held = self._leaders.check(leadership)
        if held.cluster != record.key.cluster:
            raise LeadershipLostError(f"{record.key} is not of {held.cluster}, which is led")
        key, leader = self._keys.shard(record.key), self._keys.leader(held.cluster)
        stored = self._reader.view.get(key)
        value = record_value(stored, record, held.revision)
        done = await self._transactions.make(
            [is_created(leader, held.revision), is_at(key, record.revision)],
            [to_put(key, value)],
            [to_read(leader), to_read(key)],
        )
        found = found_of(done, key)
        if not done.is_done and found.value == value:  # as told by an answer that was missing
            revision = found.revision
        elif done.is_done:
            revision = done.revision
        else:
            if 0 < found.revision < record.revision:
                lost = DataLostError(f"{key}, of revision {record.revision}, is older now: {REMEDY}")
                self._reader.is_lost(lost)
                raise lost
            self._reader.is_own(found)
            if found_of(done, leader).created != held.revision:
                self._leaders.lost(held, "its key is gone")
                self._leaders.check(held)
            raise ConflictError(
                f"{record.key}: read at revision {record.revision}, but {found.revision} is stored"
            )
        entry = Entry(key, value, revision, found.created)
        self._reader.is_own(entry)
        await self._reader.wait_seen(revision, within=SEEN_WITHIN)  # and so who was there before it
        return record_of(entry)


def record_of(entry: Entry) -> ShardRecord:
    """Raise ValueError when it is no record."""
    record = record_decode(json.loads(entry.value or b""), entry.revision)
    return record if record.changed else replace(record, changed=record.revision)


def record_value(stored: Entry | None, record: ShardRecord, token: int) -> bytes:
    """What to store; raise ConflictError when it may not replace what is, StoreUnavailableError."""
    try:
        found = record_of(stored) if stored is not None else None
    except NOT_UNDERSTOOD as error:
        raise StoreUnavailableError(
            f"{record.key}: what is stored is no record ({error!r}): delete its key in etcd, and it is"
            " written again as it is served"
        ) from error
    replaced = record_replace(found, record, 0)
    return json.dumps({"token": token, **record_encode(replaced)}, separators=(",", ":")).encode()
