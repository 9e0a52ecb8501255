"""What is kept beside the records: small values that all members read alike, and that outlive them all."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from shardproxy.model.board import Board

MAX_NOTE = 512 << 10  # bytes of JSON
MAX_NOTES = 512 << 10  # bytes of all of one kind and cluster: a Kubernetes object holds 1 MiB


class NoteKind(enum.Enum):
    """What a note is about."""

    PAUSED = "paused"  # of a cluster: an operator has paused its automatic failover; dropped when resumed
    EPOCH = "epoch"  # of a cluster without records: the highest epoch that its topology ever had
    NUMBERS = "numbers"  # of a Redis Cluster: the number by which the shard of each node is known, by node id
    LAYOUT = "layout"  # of a memcached cluster: version and digest of what clients were told last
    SCRIPT = "script"  # named by its SHA1
    USERS = "users"  # of a cluster: what clients changed of its users
    EVENT = "event"  # named so that they sort by time
    REQUEST = "request"  # named by a shard's number: what an operator asks of it, and the answer
    JOB = "job"  # named by its id: long work that the cluster's leader does, or did (jobs/)
    IDENTITY = "identity"  # of a cluster: what its backups tell it by from others of its name
    ACKNOWLEDGED = "acknowledged"  # named by a shard's number: how often an operator has lifted its backoff


@dataclass(frozen=True, slots=True, order=True)
class NoteKey:
    """Names a note for good."""

    cluster: str
    kind: NoteKind
    name: str = ""

    @property
    def topic(self) -> tuple[str, NoteKind]:
        """What a subscriber to a board of notes names to hear of it."""
        return self.cluster, self.kind


@dataclass(frozen=True, slots=True)
class Note:
    """A JSON value, and the store's revision of it, for compare-and-set."""

    value: Any
    revision: int


Notes = Board[NoteKey, Note]


def notes_board() -> Notes:
    """An empty board of notes, whose topics are cluster and kind."""
    return Board(topic_of=attrgetter("topic"))


def notes_of(notes: Mapping[NoteKey, Note], cluster: str, kind: NoteKind) -> dict[NoteKey, Note]:
    """Those of one kind and cluster, by their names in ascending order."""
    found = [key for key in notes if key.topic == (cluster, kind)]
    return {key: notes[key] for key in sorted(found, key=attrgetter("name"))}


def value_encode(value: Any) -> bytes:
    """A note's value as compact JSON; raise ValueError when it is too large."""
    data = json.dumps(value, separators=(",", ":")).encode()
    if len(data) > MAX_NOTE:
        raise ValueError(f"has {len(data)} bytes, and at most {MAX_NOTE} can be kept")
    return data


def notes_fit(sizes: Iterable[int], added: int, what: NoteKey) -> None:
    """Raise ValueError when a note of so many bytes is too much beside the others of its kind and cluster."""
    if sum(sizes) + added > MAX_NOTES:
        raise ValueError(
            f"all of kind {what.kind.value} of {what.cluster} would have more than {MAX_NOTES} bytes"
        )


def is_paused(notes: Mapping[NoteKey, Note], cluster: str) -> bool:
    """Whether nothing is to be done to the nodes of a cluster unless asked for."""
    return NoteKey(cluster, NoteKind.PAUSED) in notes
