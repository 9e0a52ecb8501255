"""Puts records: the token and the revision are compared where the record is, in one transaction.

{"token": the leader's revision, ...the record}      changed: 0 = at the revision of this very value
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NoReturn

from shardproxy.store.cas import record_replace
from shardproxy.store.codec import record_decode, record_encode
from shardproxy.store.etcd.errors import DataLostError
from shardproxy.store.etcd.keys import Keys
from shardproxy.store.etcd.leadership import EtcdLeadership, Leaders
from shardproxy.store.etcd.messages import Entry, is_at, is_created, to_put, to_read
from shardproxy.store.etcd.position import REMEDY
from shardproxy.store.etcd.reader import Reader
from shardproxy.store.etcd.transactions import Transactions, found_of
from shardproxy.store.interface import (
    ConflictError,
    Leadership,
    LeadershipLostError,
    StoreUnavailableError,
    together_check,
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

    async def put_all(
        self, records: Sequence[ShardRecord], leadership: Leadership
    ) -> tuple[ShardRecord, ...]:
        """In one transaction; raise ConflictError, LeadershipLostError or StoreUnavailableError."""
        cluster = together_check(records)
        held = self._leaders.check(leadership)
        if held.cluster != cluster:
            raise LeadershipLostError(f"{records[0].key} is not of {held.cluster}, which is led")
        leader = self._keys.leader(cluster)
        wanted = {self._keys.shard(record.key): record for record in records}
        values = {
            key: record_value(self._reader.view.get(key), record, held.revision)
            for key, record in wanted.items()
        }
        done = await self._transactions.make(
            [is_created(leader, held.revision), *(is_at(key, one.revision) for key, one in wanted.items())],
            [to_put(key, value) for key, value in values.items()],
            [to_read(leader), *map(to_read, wanted)],
        )
        found = {key: found_of(done, key) for key in wanted}
        if done.is_done:
            revisions = dict.fromkeys(wanted, done.revision)
        elif all(found[key].value == value for key, value in values.items()):
            revisions = {key: one.revision for key, one in found.items()}  # an answer of before is missing
        else:
            self._refuse(wanted, found, found_of(done, leader), held)
        entries = [Entry(key, value, revisions[key], found[key].created) for key, value in values.items()]
        for entry in entries:
            self._reader.is_own(entry)
        # and so who was there before it
        await self._reader.wait_seen(max(revisions.values()), within=SEEN_WITHIN)
        return tuple(map(record_of, entries))

    def _refuse(
        self,
        wanted: Mapping[str, ShardRecord],
        found: Mapping[str, Entry],
        leader: Entry,
        held: EtcdLeadership,
    ) -> NoReturn:
        """Show what is there, and raise why nothing was written."""
        for key, record in wanted.items():
            if 0 < found[key].revision < record.revision:
                lost = DataLostError(f"{key}, of revision {record.revision}, is older now: {REMEDY}")
                self._reader.is_lost(lost)
                raise lost
        for entry in found.values():
            self._reader.is_own(entry)
        if leader.created != held.revision:
            self._leaders.lost(held, "its key is gone")
            self._leaders.check(held)
        others = (
            f"{record.key}: read at revision {record.revision}, but {found[key].revision} is stored"
            for key, record in wanted.items()
            if found[key].revision != record.revision
        )
        raise ConflictError("; ".join(others))


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
