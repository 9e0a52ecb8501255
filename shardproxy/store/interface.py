"""What any store offers: one leader, compare-and-set of records, and news of them.

    claim ─> Leadership ─> put(record, leadership) ─> records (a board: every reader sees the latest)

A lease is not a lock, so every `put` is checked against the leader's revision in the store itself.
"""

from __future__ import annotations

from typing import Protocol

from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.store.record import ShardRecord

MemberKey = tuple[str, ShardKey]


class StoreError(Exception):
    """Nothing was written, as far as we know."""


class StoreUnavailableError(StoreError):
    """The store cannot be used now; try again later, and change no topology until then."""


class ConflictError(StoreError):
    """The record is not what the writer last read."""


class LeadershipLostError(StoreError):
    """Another controller is the leader now; send nothing more to any engine."""


class Leadership(Protocol):
    """The right to write, as long as it lasts."""

    @property
    def revision(self) -> int:
        """Grows with every leader: the fencing token."""

    def covers(self, seconds: float) -> bool:
        """Whether nobody else can be the leader for so long from now, by a clock that counts suspension."""


class Store(Protocol):
    """A place for records that outlives this process."""

    @property
    def group(self) -> str:
        """Names what shares this store: its members do not see a foreign manager in each other."""

    @property
    def records(self) -> Board[ShardKey, ShardRecord]:
        """Every record as last seen, its `revision` set."""

    async def claim(self) -> Leadership:
        """Wait until this process is the leader; the records are then as the last leader left them."""

    async def put(self, record: ShardRecord, leadership: Leadership) -> ShardRecord:
        """Replace the record of that revision (0 = there is none); return it with its new revision.

        Raise ConflictError, LeadershipLostError or StoreUnavailableError. It is durable when this returns.
        """

    @property
    def member(self) -> str:
        """This process among those that share the store."""

    @property
    def acks(self) -> Board[MemberKey, int]:
        """Of every live member and shard: the `changed` of the record that it serves."""

    async def ack(self, key: ShardKey, changed: int) -> None:
        """This process serves the shard as of that change: no older reply is an acknowledgement there."""
