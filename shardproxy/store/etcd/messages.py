"""What the JSON gateway says and is told, as values. Pure.

Keys and values are base64, integers are text, and what is zero or false is left out:
https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/
"""

from __future__ import annotations

import functools
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from shardproxy.store.etcd.errors import EtcdUnavailableError

Message = Mapping[str, Any]
Operation = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Header:
    """Who answers, as of when."""

    cluster_id: str
    term: int
    revision: int  # 0 = not said


@dataclass(frozen=True, slots=True)
class Entry:
    """A key with its value; `value` is None where the key is gone."""

    key: str
    value: bytes | None
    revision: int  # of its last change
    created: int = 0  # of its first one since it was there
    lease: str = "0"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a transaction; `found` are the entries that its ranges read."""

    is_done: bool
    revision: int
    found: tuple[Entry, ...]


def understood(read: Callable[[Message], T]) -> Callable[[Message], T]:
    """Have EtcdUnavailableError raised for what is no answer of etcd."""

    @functools.wraps(read)
    def guarded(message: Message) -> T:
        try:
            return read(message)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise EtcdUnavailableError(f"an answer of etcd is not understood: {error!r}") from error

    return guarded


@understood
def header_of(reply: Message) -> Header:
    header = reply["header"]
    return Header(str(header["cluster_id"]), int(header.get("raft_term", 0)), int(header.get("revision", 0)))


def entry_of(values: Message) -> Entry:
    return Entry(
        _name(values["key"]),
        b64decode(values.get("value", "")),
        int(values["mod_revision"]),
        int(values["create_revision"]),
        str(values.get("lease", "0")),
    )


@understood
def entries_of(reply: Message) -> tuple[Entry, ...]:
    """What a range has found."""
    return tuple(entry_of(values) for values in reply.get("kvs", ()))


@understood
def events_of(result: Message) -> tuple[Entry, ...]:
    """What a watch tells, in order."""
    events = []
    for event in result.get("events", ()):
        values = event["kv"]
        if event.get("type") == "DELETE":
            events.append(Entry(_name(values["key"]), None, int(values["mod_revision"])))
        else:
            events.append(entry_of(values))
    return tuple(events)


@understood
def outcome_of(reply: Message) -> Outcome:
    found: list[Entry] = []
    for response in reply.get("responses", ()):
        found += entries_of(response.get("response_range", {}))
    return Outcome(bool(reply.get("succeeded")), header_of(reply).revision, tuple(found))


def is_created(key: str, revision: int) -> dict[str, Any]:
    """That a key was made at that revision; 0 = there is none."""
    return {"key": _text(key), "target": "CREATE", "result": "EQUAL", "create_revision": str(revision)}


def is_at(key: str, revision: int) -> dict[str, Any]:
    """That a key was last changed at that revision; 0 = there is none."""
    return {"key": _text(key), "target": "MOD", "result": "EQUAL", "mod_revision": str(revision)}


def to_put(key: str, value: bytes, lease: str = "0") -> Operation:
    return {"request_put": {"key": _text(key), "value": b64encode(value).decode(), "lease": lease}}


def to_delete(key: str) -> Operation:
    return {"request_delete_range": {"key": _text(key)}}


def to_read(key: str) -> Operation:
    return {"request_range": {"key": _text(key)}}


def transaction(
    compare: Sequence[dict[str, Any]], success: Sequence[Operation], failure: Sequence[Operation] = ()
) -> dict[str, Any]:
    return {"compare": list(compare), "success": list(success), "failure": list(failure)}


def range_of(
    first: str, end: str, *, limit: int = 0, revision: int = 0, newer_than: int = 0, keys_only: bool = False
) -> dict[str, Any]:
    """A read of all keys from `first` to before `end`; linearizable, as etcd's default is."""
    wanted: dict[str, Any] = {"key": _text(first), "range_end": _text(end)}
    if limit:
        wanted["limit"] = str(limit)
    if revision:
        wanted["revision"] = str(revision)
    if newer_than:
        wanted["min_mod_revision"] = str(newer_than + 1)
    if keys_only:
        wanted["keys_only"] = True
    return wanted


def watch_of(first: str, end: str, start: int) -> dict[str, Any]:
    """News of all keys from `first` to before `end`, from that revision on."""
    created = {"key": _text(first), "range_end": _text(end), "start_revision": str(start)}
    return {"create_request": {**created, "progress_notify": True}}


def _text(key: str) -> str:
    return b64encode(key.encode(errors="surrogateescape")).decode()


def _name(text: str) -> str:
    return b64decode(text).decode(errors="surrogateescape")
