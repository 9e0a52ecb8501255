"""Keys, values, errors and lines of the JSON gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardproxy.model.replication import ShardKey
from shardproxy.store.etcd.errors import (
    CompactedError,
    EtcdRefusedError,
    EtcdUnavailableError,
    LeaseGoneError,
    LoginOldError,
    error_of,
)
from shardproxy.store.etcd.http import lines_take
from shardproxy.store.etcd.keys import Keys
from shardproxy.store.etcd.messages import Entry, events_of, header_of, outcome_of
from shardproxy.store.notes import NoteKey, NoteKind

HEADER = {"cluster_id": "17", "member_id": "1", "revision": "9007199254740993", "raft_term": "2"}


@given(st.text(), st.text(), st.integers(0, 1000))
def test_names_of_any_kind_are_found_again(cluster: str, name: str, number: int) -> None:
    keys = Keys("/a/b/")
    assert keys.parts(keys.note(NoteKey(cluster, NoteKind.EVENT, name))) == ("note", cluster, "event", name)
    assert keys.parts(keys.shard(ShardKey(cluster, number))) == ("shard", cluster, str(number))
    assert keys.parts(keys.ack(name, cluster)) == ("ack", name, cluster)
    assert keys.first < keys.ack(name, cluster) < keys.end


def test_integers_are_text_and_what_is_false_is_left_out() -> None:
    assert header_of({"header": HEADER}).revision == 2**53 + 1
    assert not outcome_of({"header": HEADER}).is_done
    assert outcome_of({"header": HEADER, "succeeded": True}).is_done


def test_events_are_puts_unless_they_say_otherwise() -> None:
    put = {"key": "L2E=", "create_revision": "3", "mod_revision": "4", "value": "eA==", "lease": "7"}
    gone = {"type": "DELETE", "kv": {"key": "L2E=", "mod_revision": "5"}}
    assert events_of({"events": [{"kv": put}, gone]}) == (
        Entry("/a", b"x", 4, 3, "7"),
        Entry("/a", None, 5),
    )


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (5, "etcdserver: requested lease not found", LeaseGoneError),
        (11, "etcdserver: mvcc: required revision has been compacted", CompactedError),
        (16, "etcdserver: invalid auth token", LoginOldError),
        (3, "etcdserver: revision of auth store is old", LoginOldError),
        (3, "etcdserver: request is too large", EtcdRefusedError),
        (7, "etcdserver: permission denied", EtcdRefusedError),
        (2, "etcdserver: not a primary lessor", EtcdUnavailableError),
        (14, "etcdserver: request timed out", EtcdUnavailableError),
        (8, "etcdserver: mvcc: database space exceeded", EtcdRefusedError),
        (13, "stream terminated by RST_STREAM", EtcdUnavailableError),
    ],
)
def test_errors_by_what_to_do_about_them(code: int, text: str, kind: type[Exception]) -> None:
    error = error_of(code, text, "m0")
    assert type(error) is kind
    assert text in str(error)


class Chunks(httpx.AsyncByteStream):
    """An answer in pieces."""

    def __init__(self, data: bytes, size: int) -> None:
        self._chunks = iter([data[at : at + size] for at in range(0, len(data), size)])

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
async def test_lines_come_whole_however_they_are_cut(size: int) -> None:
    lines: list[Any] = []
    response = httpx.Response(200, stream=Chunks(b'{"a":1}\n\n{"b":2}\n{"c":3}\n{"cut', size))
    with pytest.raises(EtcdUnavailableError, match="has ended the watch"):
        await lines_take(response, lines.append, "m0")
    assert lines == [b'{"a":1}', b'{"b":2}', b'{"c":3}']


async def test_what_a_line_is_refused_for_ends_the_watch() -> None:
    def refuse(_line: bytes) -> None:
        raise CompactedError("read all again")

    with pytest.raises(CompactedError):
        await lines_take(httpx.Response(200, stream=Chunks(b"{}\n{}\n", 3)), refuse, "m0")
