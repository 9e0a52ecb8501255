"""What requests ask for, key by key."""

from __future__ import annotations

import pytest

from shardproxy.caching.leases import MAX_WORDS
from shardproxy.caching.requests import Base, Join, NotSupportedError, keys_read, write_of


def words(text: str) -> tuple[bytes, ...]:
    return tuple(text.encode().split())


@pytest.mark.parametrize(
    ("request_", "base"),
    [
        ("SET k v", Base.NONE),
        ("SET k v EX 10", Base.NONE),
        ("SET k nx", Base.NONE),
        ("SET k v NX", Base.COPY),
        ("set k v px 10 get", Base.COPY),
        ("SET k v KEEPTTL", Base.COPY),
        ("SETEX k 10 v", Base.NONE),
        ("GETSET k v", Base.COPY),
        ("INCR k", Base.COPY),
        ("HSET k f v", Base.COPY),
    ],
)
def test_commands_of_one_key_go_by_what_was_there_or_not(request_: str, base: Base) -> None:
    write = write_of(words(request_))
    (part,) = write.parts
    assert (part.key, part.words, part.base) == (b"k", words(request_), base)
    assert (part.deletes, part.is_plain, write.join) == (False, False, Join.ONLY)


def test_commands_of_several_keys_are_taken_apart_in_their_order() -> None:
    write = write_of(words("MSET a 1 b 2 a 3"))
    assert [part.words for part in write.parts] == [words("SET a 1"), words("SET b 2"), words("SET a 3")]
    assert write.join is Join.OK
    write = write_of(words("UNLINK a b"))
    assert [(part.key, part.deletes) for part in write.parts] == [(b"a", True), (b"b", True)]
    assert write.join is Join.SUM


@pytest.mark.parametrize(
    "request_", ["MSETNX a 1", "RPUSH k v", "MSET a", "SORT k STORE d", "RENAME a b", "X"]
)
def test_what_cannot_be_right_is_refused(request_: str) -> None:
    with pytest.raises(NotSupportedError):
        write_of(words(request_))


def test_more_words_than_a_script_takes_are_refused() -> None:
    with pytest.raises(NotSupportedError, match=f"more than {MAX_WORDS} words"):
        write_of((b"DEL", *(b"%d" % number for number in range(MAX_WORDS))))


def test_how_long_a_value_is_kept_is_the_engines() -> None:
    assert write_of(words("EXPIRE k 10")).parts[0].is_plain


def test_reads_are_told_from_writes() -> None:
    assert keys_read(words("mget a b")) == (b"a", b"b")
    assert keys_read(words("HMGET h f g")) == (b"h",)
    assert keys_read(words("SET k v")) is None
