"""What databases say of keys that were changed."""

from __future__ import annotations

import pytest

from shardproxy.caching.listening import keys_named
from tests.fixtures.caching import rule


@pytest.mark.parametrize(
    ("payload", "keys"),
    [
        ("", None),
        ("user:1", [b"user:1"]),
        ('["user:1", 2]', [b"user:1", b"2"]),
        ('{"id": 1}', [b"user:1"]),
        ("{user:1}:cart", [b"{user:1}:cart"]),
        # JSON has halves of characters, and keys have not: such a key is nobody's.
        ('["\\ud800", "user:1"]', [b"?", b"user:1"]),
        ('{"id": "\\ud800"}', [b"user:?"]),
    ],
)
def test_a_payload_names_keys(payload: str, keys: list[bytes] | None) -> None:
    assert keys_named(payload, [rule()]) == keys
