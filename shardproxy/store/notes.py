"""What is kept beside the records: small values that all members read alike, and that outlive each of them."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

MAX_NOTE = 256 << 10  # bytes of JSON
MAX_NOTES = 512 << 10  # bytes of all of one kind and cluster: a Kubernetes object holds 1 MiB


class NoteKind(enum.Enum):
    """What a note is about."""

    PAUSED = "paused"  # of a cluster: an operator has paused its automatic failover
    EPOCH = "epoch"  # of a cluster without records: the highest epoch that its topology ever had
    LAYOUT = "layout"  # of a memcached cluster: version and digest of what clients were told last
    SCRIPT = "script"  # named by its SHA1
    USERS = "users"  # of a cluster: what clients changed of its users
    EVENT = "event"  # named so that they sort by time
    REQUEST = "request"  # named by a shard's number: what an operator asks of it, and the answer
    ACKNOWLEDGED = "acknowledged"  # named by a shard's number: how often an operator has lifted its backoff


@dataclass(frozen=True, slots=True, order=True)
class NoteKey:
    """Names a note for good."""

    cluster: str
    kind: NoteKind
    name: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """A JSON value, and the store's revision of it, for compare-and-set."""

    value: Any
    revision: int
