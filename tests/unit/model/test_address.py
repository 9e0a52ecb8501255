"""Addresses are read as people write them; what is none is refused with what to write."""

from __future__ import annotations

import pytest

from shardproxy.model import Address


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1:6379",
        "[::1]:6379",
        "[fe80::1%eth0]:6379",
        "*:7000",
        "cache-1.eu_west.example.com.:6379",
        "0x7f.1:1",
        "unix:/run/redis.sock",
    ],
)
def test_an_address_is_read_and_shown_alike(text: str) -> None:
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("redis://127.0.0.1:6379", "without redis://"),
        ("${HOST}:7799", "variables are not replaced"),
        ("{host}:7799", "variables are not replaced"),
        ("7000:30", "a number is no host"),
        ("6379", "expected host:port"),
        ("::1:6379", "in brackets"),
        ("a b:1", "has spaces"),
        ("user@localhost:1", "is no name of a host"),
        ("localhost/0:1", "is no name of a host"),
        ("localhost:99999", "from 0 to 65535"),
        ("unix:run", "absolute path"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError, match="^.*" + why):
        Address.parse(text)
