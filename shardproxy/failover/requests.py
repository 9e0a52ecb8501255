"""What an operator asks of a shard's leader, as a note that any proxy may write. Pure.

    asked (by, id) ─> taken (by the leader) ─> answered ("" = done, else why not)

Each step is a compare-and-set, so what was withdrawn is taken by nobody, and what was taken is not withdrawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from shardproxy.model import Address
from shardproxy.model.replication import ShardKey
from shardproxy.store.notes import Note, NoteKey, NoteKind

STOPPED = "the controller stopped before it was done"


@dataclass(frozen=True, slots=True)
class Request:
    """A change of primary that somebody waits for."""

    id: str
    by: str  # the member that was asked, and waits
    to: Address | None = None  # None = the best replica
    is_forced: bool = False  # promote it whatever its data
    is_test: bool = False  # ElastiCache's TestFailover
    taken: str | None = None  # the member that does it: it is not withdrawn any more
    answer: str | None = None  # "" = done; why it was not

    @property
    def is_over(self) -> bool:
        return self.answer is not None

    def taken_by(self, member: str) -> Request:
        return replace(self, taken=member)

    def answered(self, why_not: str | None) -> Request:
        return replace(self, answer=why_not or "")


def request_key(key: ShardKey) -> NoteKey:
    return NoteKey(key.cluster, NoteKind.REQUEST, str(key.index))


def acknowledged_key(key: ShardKey) -> NoteKey:
    return NoteKey(key.cluster, NoteKind.ACKNOWLEDGED, str(key.index))


def paused_key(cluster: str) -> NoteKey:
    return NoteKey(cluster, NoteKind.PAUSED)


def acknowledged_count(notes: Mapping[NoteKey, Note], key: ShardKey) -> int:
    """How often an operator has lifted the shard's backoff."""
    note = notes.get(acknowledged_key(key))
    return note.value if note is not None and isinstance(note.value, int) else 0


def request_encode(request: Request) -> dict[str, Any]:
    return {
        "id": request.id,
        "by": request.by,
        "to": str(request.to) if request.to is not None else None,
        "forced": request.is_forced,
        "test": request.is_test,
        "taken": request.taken,
        "answer": request.answer,
    }


def request_decode(value: Any) -> Request | None:
    """None for what is no request, as of another version."""
    try:
        return Request(
            id=str(value["id"]),
            by=str(value["by"]),
            to=Address.parse(value["to"]) if value["to"] is not None else None,
            is_forced=bool(value["forced"]),
            is_test=bool(value["test"]),
            taken=value["taken"],
            answer=value["answer"],
        )
    except (KeyError, TypeError, ValueError):
        return None
