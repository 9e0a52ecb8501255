"""What any store offers: a leader for each cluster, compare-and-set of records, notes, and news of them all.

    claim ─> Leadership ─> put(record, leadership) ─> records (a board: every reader sees the latest)
    announce, ack, vote ─> members, acks, votes      what live members say; it goes when they do
    note, drop          ─> notes                     what outlives them

A lease is not a lock, so every `put` is checked against the leader's revision in the store itself. Boards
show what was read last: they stay as they are while the store cannot be reached, and `synced` says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import trio

from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.store.member import Member, Vote
from shardproxy.store.notes import Note, NoteKey, Notes
from shardproxy.store.record import ShardRecord
from shardproxy.store.statistics import StoreStatistics

MemberKey = tuple[str, ShardKey]

MAX_TOGETHER = 100  # records in one `put_all`: etcd takes 128 operations in one transaction


class StoreError(Exception):
    """Nothing was written, as far as we know."""


class StoreUnavailableError(StoreError):
    """The store cannot be used now; try again later, and change no topology until then."""


class ConflictError(StoreError):
    """The record, or note, is not what the writer last read."""


class LeadershipLostError(StoreError):
    """Another controller is the leader now; send nothing more to any engine."""


class Leadership(Protocol):
    """The right to write the records of one cluster, as long as it lasts."""

    @property
    def cluster(self) -> str: ...

    @property
    def revision(self) -> int:
        """Grows with every leader of the cluster: the fencing token."""

    def covers(self, seconds: float) -> bool:
        """Whether nobody else can be the leader for so long from now, by a clock that counts suspension."""

    async def resign(self) -> None:
        """Let another member lead; nothing is written with this any more. Raises nothing of the store's."""


class Notebook(Protocol):
    """Small values that outlive this process, each replaced whole."""

    @property
    def notes(self) -> Notes:
        """Every note of the followed clusters. Topic: cluster and kind."""

    async def note(self, key: NoteKey, value: Any, *, expected: int | None = None) -> Note:
        """Replace a note, only that of revision `expected` where given (0 = there is none).

        It is durable, and on the board, when this returns. Raise ConflictError, StoreUnavailableError, or
        ValueError when it is too large, or too much beside the others of its kind.
        """

    async def drop(self, key: NoteKey, *, expected: int | None = None) -> None:
        """Forget a note; no error when there is none. Raise ConflictError or StoreUnavailableError."""


class Store(Notebook, Protocol):
    """A place for what outlives this process, shared with others or not.

    It hides only the records that it has shown itself: others may show those of clusters that something else
    decides about. A member that only follows can write nothing: StoreUnavailableError says so.
    """

    @property
    def group(self) -> str:
        """Names what shares this store: its members do not see a foreign manager in each other."""

    @property
    def member(self) -> str:
        """This process among those that share the store."""

    @property
    def statistics(self) -> StoreStatistics: ...

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the boards as the store is, and this member alive in it, until cancelled.

        Started once the boards show all that is stored, or what was kept of it on this machine where the
        store cannot be reached (`synced` then says False).
        """

    async def follow(self, clusters: Iterable[str]) -> None:
        """Show what is stored of these clusters, and of no others.

        Return when it is shown, or known to be out of reach.
        """

    @property
    def synced(self) -> Board[str, bool]:
        """Of each followed cluster: False = others may know of a change that we do not.

        It is said before it can be so.
        """

    @property
    def leases(self) -> Board[str, float]:
        """Of each followed cluster: until when no member goes on without us (CLOCK_BOOTTIME, seconds).

        Not there = for ever: nobody else can change anything.
        """

    @property
    def lingers(self) -> float:
        """How long somebody whom nobody waits for may act by what was stored before, in seconds.

        Members are waited for until their leases end; those that only follow are not. 0 = there is nobody.
        """

    # --- records ---

    @property
    def records(self) -> Board[ShardKey, ShardRecord]:
        """Every record as last seen, its `revision` set."""

    @property
    def leaders(self) -> Board[str, str]:
        """The member that leads each cluster, as last seen; this one from when `claim` returns."""

    async def claim(self, cluster: str) -> Leadership:
        """Wait until this process leads the cluster; its records are then as the last leader left them.

        Raise StoreUnavailableError. Who claims again leads with a new revision; the one before is void.
        """

    async def put(self, record: ShardRecord, leadership: Leadership) -> ShardRecord:
        """Replace the record of that revision (0 = there is none); return it with its new revision.

        Raise ConflictError, LeadershipLostError or StoreUnavailableError. It is durable when this returns,
        and `members` and `acks` are then at least as new: whoever is not among them reads this record.
        """

    async def put_all(
        self, records: Sequence[ShardRecord], leadership: Leadership
    ) -> tuple[ShardRecord, ...]:
        """As `put`, of several shards of one cluster: all of them are replaced, or none.

        Nobody ever sees some of them replaced, and others not: every board shows them together. They get one
        revision. Raise ValueError for none, one shard twice, or more than MAX_TOGETHER.
        """

    # --- what live members say: it goes with them ---

    @property
    def members(self) -> Board[str, Member]:
        """Every live member by its name, this process among them from before it serves."""

    async def announce(self, member: Member) -> None:
        """Say this of this process; raise StoreUnavailableError."""

    async def leave(self) -> None:
        """Take back at once all that this member says and leads: nobody is served by it any more."""

    @property
    def acks(self) -> Board[MemberKey, int]:
        """Of every live member and shard: the `changed` of the record that it serves. Topic: the shard."""

    async def ack(self, key: ShardKey, changed: int | None) -> None:
        """This process serves the shard as of that change: no older reply is an acknowledgement there.

        None = it serves it no more, and does not know of its changes.
        """

    @property
    def votes(self) -> Board[MemberKey, Vote]:
        """Of every live member: what it finds of the primaries it watches. Topic: the shard."""

    async def vote(self, votes: Mapping[ShardKey, Vote | None]) -> None:
        """Say what this process finds of these shards' primaries now; None = it does not watch it."""


def votes_show(board: Board[MemberKey, Vote], member: str, votes: Mapping[ShardKey, Vote | None]) -> None:
    """Show what a member says of these shards."""
    for key, vote in votes.items():
        if vote is None:
            board.hide((member, key))
        else:
            board.show((member, key), vote)


def together_check(records: Sequence[ShardRecord]) -> str:
    """The cluster of records that are to be replaced together; raise ValueError when they cannot be."""
    if not 0 < len(records) <= MAX_TOGETHER:
        raise ValueError(f"{len(records)} records together, and 1 to {MAX_TOGETHER} can be replaced")
    keys = {record.key for record in records}
    clusters = {key.cluster for key in keys}
    if len(keys) < len(records) or len(clusters) > 1:
        raise ValueError(
            f"records not each of one cluster, and once: {', '.join(str(r.key) for r in records)}"
        )
    return clusters.pop()
