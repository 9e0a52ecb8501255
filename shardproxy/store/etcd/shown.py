"""From keys to boards: of the clusters that are followed, and of every member.

What this process says of itself is on the boards when it says it; what etcd tells of that is passed over.
A value that cannot be understood changes nothing, and the log says so: a newer version may have written it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from operator import itemgetter
from typing import Any, TypeVar

import structlog

from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.store.etcd import keys as kinds
from shardproxy.store.etcd.keys import Keys
from shardproxy.store.etcd.messages import Entry
from shardproxy.store.etcd.note_writer import note_of
from shardproxy.store.etcd.record_writer import NOT_UNDERSTOOD, record_of
from shardproxy.store.interface import MemberKey
from shardproxy.store.member import Finding, Member, Vote, member_decode
from shardproxy.store.notes import NoteKey, NoteKind, Notes, notes_board
from shardproxy.store.record import ShardRecord

V = TypeVar("V")

log = structlog.get_logger()


class Shown:
    """The boards, and their only writer."""

    def __init__(self, keys: Keys, member: str) -> None:
        self._keys = keys
        self._member = member
        self.followed: frozenset[str] = frozenset()
        self.records: Board[ShardKey, ShardRecord] = Board()
        self.leaders: Board[str, str] = Board()
        self.members: Board[str, Member] = Board()
        self.acks: Board[MemberKey, int] = Board(topic_of=itemgetter(1))
        self.votes: Board[MemberKey, Vote] = Board(topic_of=itemgetter(1))
        self.notes: Notes = notes_board()
        self._own: dict[ShardKey, ShardRecord] = {}  # others may show records of what is not followed
        self._show: dict[str, Callable[[Entry, list[str]], None]] = {
            kinds.LEADER: self._leader,
            kinds.SHARD: self._shard,
            kinds.MEMBER: self._of_member,
            kinds.ACK: self._ack,
            kinds.VOTE: self._vote,
            kinds.NOTE: self._note,
        }

    def follow(self, clusters: frozenset[str], entries: Iterable[Entry]) -> None:
        """Show what is stored of these clusters, and hide what is of others, but for what we say."""
        gone, self.followed = self.followed - clusters, clusters
        for key in [key for key in self._own if key.cluster in gone]:
            if self.records.get(key) is self._own.pop(key):
                self.records.hide(key)
        for cluster in gone & self.leaders.keys():
            self.leaders.hide(cluster)
        for board in (self.acks, self.votes):
            for one in [one for one in board if one[1].cluster in gone and one[0] != self._member]:
                board.hide(one)
        for note in [note for note in self.notes if note.cluster in gone]:
            self.notes.hide(note)
        self.show(entries)

    def show(self, entries: Iterable[Entry]) -> None:
        """These keys have changed."""
        for entry in entries:
            kind, *names = self._keys.parts(entry.key)
            show = self._show.get(kind)
            if show is not None:
                try:
                    show(entry, names)
                except NOT_UNDERSTOOD as error:
                    log.warning("a value in etcd is not understood", key=entry.key, why=str(error))

    def _leader(self, entry: Entry, names: list[str]) -> None:
        (cluster,) = names
        if cluster in self.followed:
            if entry.value is None:
                self.leaders.hide(cluster)
            else:
                self.leaders.show(cluster, entry.value.decode())

    def _shard(self, entry: Entry, names: list[str]) -> None:
        cluster, number = names
        key = ShardKey(cluster, int(number))
        if cluster not in self.followed:
            return
        before = self.records.get(key)
        if entry.value is None:  # nobody of ours deletes one: the leader's next write makes it again
            if before is not None:
                log.error("a record was deleted in etcd, and is served as it was", shard=str(key))
                self._show_own(key, replace(before, revision=0))
            return
        record = record_of(entry)
        if before is not None and record.epoch < before.epoch:
            log.error(
                "a record went back, and is not served",
                shard=str(key),
                epoch=record.epoch,
                was=before.epoch,
                why="somebody else wrote, or restored, it: shardproxy switchover makes a newer one",
            )
            return
        self._show_own(key, record)

    def _show_own(self, key: ShardKey, record: ShardRecord) -> None:
        self._own[key] = record
        self.records.show(key, record)

    def _of_member(self, entry: Entry, names: list[str]) -> None:
        (name,) = names
        if name == self._member:
            return
        if entry.value is None:
            self.members.hide(name)
        else:
            self.members.show(name, member_decode(json.loads(entry.value)))

    def _ack(self, entry: Entry, names: list[str]) -> None:
        self._spread(self.acks, entry, names, int)

    def _vote(self, entry: Entry, names: list[str]) -> None:
        self._spread(self.votes, entry, names, vote_decode)

    def _spread(
        self, board: Board[MemberKey, V], entry: Entry, names: list[str], decode: Callable[[Any], V]
    ) -> None:
        """A key that holds something of many shards."""
        name, cluster = names
        if name == self._member or cluster not in self.followed:
            return
        values = json.loads(entry.value) if entry.value is not None else {}
        there = {(name, ShardKey(cluster, int(number))): decode(value) for number, value in values.items()}
        for one in [
            one for one in board if one[0] == name and one[1].cluster == cluster and one not in there
        ]:
            board.hide(one)
        for one, value in there.items():
            board.show(one, value)

    def _note(self, entry: Entry, names: list[str]) -> None:
        cluster, kind, name = names
        if cluster not in self.followed:
            return
        key = NoteKey(cluster, NoteKind(kind), name)
        if entry.value is None:
            self.notes.hide(key)
        else:
            self.notes.show(key, note_of(entry))


def vote_encode(vote: Vote) -> dict[str, Any]:
    return {"primary": vote.primary, "finding": vote.finding.value, "why": vote.why}


def vote_decode(values: dict[str, Any]) -> Vote:
    return Vote(str(values["primary"]), Finding(values["finding"]), str(values["why"]))
