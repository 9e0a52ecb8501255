"""What the boards show, made of objects as they are seen. Knows nothing of how they came."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from operator import itemgetter
from typing import Any

import structlog

from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.store.codec import record_decode
from shardproxy.store.interface import MemberKey
from shardproxy.store.kubernetes.names import Kind, Names
from shardproxy.store.kubernetes.objects import DAMAGED, Body, Stored
from shardproxy.store.kubernetes.pulse import acks_of, votes_of
from shardproxy.store.member import Member, Vote, member_decode
from shardproxy.store.notes import Note, NoteKey, NoteKind, notes_board
from shardproxy.store.record import ShardRecord

log = structlog.get_logger()


class Boards:
    """Shows what is of the followed clusters, and of all members."""

    def __init__(self, names: Names, member: str, *, knows_heartbeats: bool) -> None:
        self._names = names
        self._member = member  # whose acks and votes are shown when it says them
        self._knows_heartbeats = knows_heartbeats  # followers do not, and believe what is announced
        self._objects: dict[str, str] = {}  # names of followed clusters' objects, and the cluster
        self._kinds: dict[str, NoteKey] = {}  # names of objects with notes, and what they are of
        self._raw: dict[ShardKey, Any] = {}  # records as shown, so that only those that changed are read
        self._announced: dict[str, Member] = {}  # by name of object
        self._alive: dict[str, tuple[str, str]] = {}  # by name of object: uid and member
        self.records: Board[ShardKey, ShardRecord] = Board()
        self.leaders: Board[str, str] = Board()
        self.members: Board[str, Member] = Board()
        self.acks: Board[MemberKey, int] = Board(topic_of=itemgetter(1))
        self.votes: Board[MemberKey, Vote] = Board(topic_of=itemgetter(1))
        self.notes = notes_board()

    @property
    def followed(self) -> frozenset[str]:
        return frozenset(self._objects.values())

    def follow(self, clusters: Iterable[str], objects: Iterable[Stored]) -> None:
        """Show what is of these clusters from now on, and of no others."""
        before = self.followed
        names = self._names
        self._objects = {names.cluster(cluster): cluster for cluster in clusters}
        self._kinds = {
            names.notes(cluster, kind): NoteKey(cluster, kind)
            for cluster in self._objects.values()
            for kind in NoteKind
        }
        for cluster in before - self.followed:
            for shard in [shard for shard in self._raw if shard.cluster == cluster]:
                del self._raw[shard]
                self.records.hide(shard)
            self._show_leader(cluster, None)
            for key in [key for key in self.notes if key.cluster == cluster]:
                self.notes.hide(key)
        for stored in objects:
            self.show(stored.name, stored)

    def show(self, name: str, stored: Stored | None) -> None:
        """An object is like that now; None = it is gone. One that is damaged is said, and changes nothing."""
        try:
            self._show(name, stored)
        except DAMAGED as error:
            log.warning("kubernetes: an object is damaged", name=name, why=repr(error))

    def is_alive(self, uid: str) -> bool:
        """Whether that heartbeat is there, as far as was seen."""
        return any(uid == known for known, _ in self._alive.values())

    def show_kept(self, records: Mapping[ShardKey, ShardRecord], notes: Mapping[NoteKey, Note]) -> None:
        """What was read before this process; all that is seen now takes its place."""
        for key, record in records.items():
            if key.cluster in self.followed and key not in self.records:
                self.records.show(key, record)
                self._raw[key] = None
        for note_key, note in notes.items():
            if note_key.cluster in self.followed and note_key not in self.notes:
                self.notes.show(note_key, note)

    def show_all(self, find: Callable[[str], Stored | None]) -> None:
        """All objects are known now, so what was only kept goes; where the object itself is gone, it stays,
        and is written anew by whoever leads next."""
        for name in (*self._objects, *self._kinds):
            if (stored := find(name)) is not None:
                self.show(name, stored)
            elif cluster := self._objects.get(name):
                for key in [key for key in self._raw if key.cluster == cluster]:
                    self._is_lost(key)
            else:
                for note in [note for note in self.notes if note.topic == self._kinds[name].topic]:
                    self.notes.show(note, replace(self.notes[note], revision=0))

    def show_self(self, member: Member) -> None:
        """A follower writes nothing, so only it sees itself."""
        self.members.show(member.name, member)

    def hide_said(self) -> None:
        """This member has left, and with it what it said."""
        for board in (self.acks, self.votes):
            _hide_others(board, self._member, {})

    def _show(self, name: str, stored: Stored | None) -> None:
        body: Body = stored.body if stored is not None else {}
        if stored is None and (name in self._objects or name in self._kinds):
            log.error("kubernetes: an object was deleted, and is served as it was", name=name)
        elif cluster := self._objects.get(name):
            self._show_records(cluster, body.get("shards", {}))
            self._show_leader(cluster, body.get("leader"))
        elif kind := self._kinds.get(name):
            self._show_notes(kind, body.get("notes", {}))
        elif (stored is not None and stored.kind is Kind.MEMBER) or name in self._announced:
            self._show_announced(name, body.get("member"))
        elif (stored is not None and stored.kind is Kind.ALIVE) or name in self._alive:
            self._show_alive(name, stored, body)

    def _show_records(self, cluster: str, shards: Mapping[str, Any]) -> None:
        keys = {ShardKey(cluster, int(index)): values for index, values in shards.items()}
        news = {key: values for key, values in keys.items() if self._raw.get(key) != values}
        # all or none: slots that leave one are found with another
        records = [record_decode(values, int(values["revision"])) for values in news.values()]
        for record in records:
            self._show_record(record)
        self._raw.update(news)
        for key in [key for key in self._raw if key.cluster == cluster and key not in keys]:
            self._is_lost(key)

    def _show_record(self, record: ShardRecord) -> None:
        before = self.records.get(record.key)
        if before is not None and record.epoch < before.epoch:
            log.error(
                "a record went back, and is not served",
                shard=str(record.key),
                epoch=record.epoch,
                was=before.epoch,
                why="somebody else wrote, or restored, it: shardproxy switchover makes a newer one",
            )
        else:
            self.records.show(record.key, record)

    def _is_lost(self, key: ShardKey) -> None:
        """Nobody of ours takes a record away: the leader's next write makes it again."""
        if (before := self.records.get(key)) is not None and before.revision != 0:
            log.error("kubernetes: a record was deleted, and is served as it was", shard=str(key))
            self.records.show(key, replace(before, revision=0))

    def _show_leader(self, cluster: str, leader: Mapping[str, Any] | None) -> None:
        if leader is None or leader["member"] is None:
            self.leaders.hide(cluster)
        else:
            self.leaders.show(cluster, str(leader["member"]))

    def _show_notes(self, kind: NoteKey, notes: Mapping[str, Any]) -> None:
        shown = {NoteKey(kind.cluster, kind.kind, name): note for name, note in notes.items()}
        for key, (revision, value, _) in shown.items():
            if key not in self.notes or self.notes[key].revision != revision:
                self.notes.show(key, Note(value, int(revision)))
        for key in [key for key in self.notes if key.topic == kind.topic and key not in shown]:
            self.notes.hide(key)

    def _show_announced(self, name: str, values: Mapping[str, Any] | None) -> None:
        if values is None:
            gone = self._announced.pop(name)
            self._show_member(gone.name)
        else:
            self._announced[name] = member = member_decode(values)
            self._show_member(member.name)

    def _show_alive(self, name: str, stored: Stored | None, body: Body) -> None:
        if stored is None:
            _, member = self._alive.pop(name)
        else:
            member = str(body["member"])
            self._alive[name] = (stored.uid, member)
        self._show_member(member)
        if member == self._member:
            return
        acks, votes = acks_of(body), votes_of(body)
        for key, changed in acks.items():
            self.acks.show((member, key), changed)
        for key, vote in votes.items():
            self.votes.show((member, key), vote)
        _hide_others(self.acks, member, acks)
        _hide_others(self.votes, member, votes)

    def _show_member(self, name: str) -> None:
        """A member lives as long as its heartbeat is there, whatever became of what it announced."""
        announced = next((one for one in self._announced.values() if one.name == name), None)
        is_alive = any(name == member for _, member in self._alive.values())
        if is_alive or (announced is not None and not self._knows_heartbeats):
            self.members.show(name, announced or Member(name))
        else:
            self.members.hide(name)


def _hide_others(board: Board[MemberKey, Any], member: str, said: Mapping[ShardKey, Any]) -> None:
    for key in [key for key in board if key[0] == member and key[1] not in said]:
        board.hide(key)
