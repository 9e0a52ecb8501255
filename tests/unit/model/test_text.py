"""Bytes of applications as text for people."""

from __future__ import annotations

import pytest

from shardproxy.model.text import shown


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"user:1", "user:1"),
        ("ä€".encode(), "ä€"),
        (b"\xff\x00\n", r"\xff\x00\x0a"),
        (b"a\\xffb", r"a\\xffb"),
        ("\u200b".encode(), r"\xe2\x80\x8b"),
        (b"\xed\xb2\x80", r"\xed\xb2\x80"),
        (b"", ""),
    ],
)
def test_what_is_not_printable_is_escaped(data: bytes, text: str) -> None:
    assert shown(data) == text
