"""What is encrypted opens only whole, in order, with its key and as what it was."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardproxy.archive import Key, SealError
from shardproxy.archive.sealing import CHUNK, MAGIC, SALT, TAG, sealed_size

KEY = Key(bytes(range(32)))
HEAD, STEP = len(MAGIC) + SALT, CHUNK + TAG


def sealed(content: bytes, what: str = "a/0", key: Key = KEY) -> bytes:
    return b"".join(key.seal([content], what))


def opened(content: bytes, what: str = "a/0", key: Key = KEY) -> bytes:
    return b"".join(key.open([content], what))


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 5])
def test_what_was_sealed_is_opened(size: int) -> None:
    content = os.urandom(size)
    closed = sealed(content)
    assert opened(closed) == content
    assert len(closed) == sealed_size(size)
    assert content[:64] not in closed or size < 64


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, CHUNK + 3), max_size=5), st.integers(1, 2 * CHUNK))
def test_chunks_may_come_in_any_size(sizes: list[int], step: int) -> None:
    pieces = [os.urandom(size) for size in sizes]
    closed = b"".join(KEY.seal(pieces, "a/0"))
    cut = (closed[at : at + step] for at in range(0, len(closed), step))
    assert b"".join(KEY.open(cut, "a/0")) == b"".join(pieces)


def test_what_is_not_what_was_sealed_does_not_open() -> None:
    whole = sealed(os.urandom(2 * CHUNK + 10))
    first, second, last = (
        whole[HEAD : HEAD + STEP],
        whole[HEAD + STEP : HEAD + 2 * STEP],
        whole[HEAD + 2 * STEP :],
    )
    head = whole[:HEAD]
    assert len(opened(whole)) == 2 * CHUNK + 10
    for damaged in (
        head + first + second,  # cut off at a chunk
        head + first,
        head,
        whole[:-1],
        whole + b"x",
        head + second + first + last,  # out of order
        head + first + first + second + last,
        head + first + last,
        whole[:HEAD] + bytes([whole[HEAD] ^ 1]) + whole[HEAD + 1 :],
        whole[: HEAD - 1] + bytes([whole[HEAD - 1] ^ 1]) + whole[HEAD:],  # the salt
        b"",
        os.urandom(100),
    ):
        with pytest.raises(SealError):
            opened(damaged)


def test_a_file_opens_only_as_what_it_was_and_with_its_key() -> None:
    with pytest.raises(SealError, match="another key, another backup's file"):
        opened(sealed(b"x", "a/0"), "a/1")
    with pytest.raises(SealError):
        opened(sealed(b"x"), key=Key(b"o" * 32))


def test_the_same_content_is_never_sealed_the_same_way() -> None:
    assert sealed(b"x" * 100)[HEAD:] != sealed(b"x" * 100)[HEAD:]


def test_key_files(tmp_path: Path) -> None:
    file = tmp_path / "key"
    for content in (
        KEY.secret,
        base64.b64encode(KEY.secret) + b"\n",
        KEY.secret.hex().encode() + b"\r\n",
    ):
        file.write_bytes(content)
        assert Key.read(file) == KEY
    for content in (b"", b"secret", base64.b64encode(b"short"), b"A" * 5000):
        file.write_bytes(content)
        with pytest.raises(SealError, match="openssl rand -base64 32") as caught:
            Key.read(file)
        assert "secret" not in str(caught.value)
    with pytest.raises(SealError, match="No such file"):
        Key.read(tmp_path / "none")


def test_a_key_does_not_show() -> None:
    assert KEY.secret.hex() not in repr(KEY) + KEY.id
    assert repr(KEY.secret) not in repr(KEY)
