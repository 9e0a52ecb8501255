"""Who may ask the admin API, and who may act through it."""

from __future__ import annotations

import pytest

from shardproxy.admin.guard import host_name, is_loopback, why_not_answered, why_not_asked

NAMES = ("cache-1.Example.com", "0.0.0.0")


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LOCALHOST:9700", "localhost.", "127.0.0.1:9700", "[::1]:9700", "[fe80::1%eth0]",
        "10.1.2.3:9700", "cache-1.example.com:9700", "",
    ],
)  # fmt: skip
def test_own_names_and_addresses_are_answered(host: str) -> None:
    assert why_not_asked("10.0.0.9", {"host": host}, NAMES) is None


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:9700", "127.0.0.1.evil.example", "localhost.evil.example", "[x", ":"],
)
def test_a_name_that_is_not_ours_is_refused(host: str) -> None:
    for peer in ("127.0.0.1", "::1", "10.0.0.9"):
        refusal = why_not_asked(peer, {"host": host}, NAMES)
        assert refusal is not None
        assert "admin_names" in refusal


def test_no_browser_is_behind_a_unix_socket() -> None:
    assert why_not_asked("", {"host": "evil.example"}, ()) is None


@pytest.mark.parametrize(
    ("peer", "is_ours"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("::1%lo", True), ("::ffff:127.0.0.1", True),
        ("10.0.0.9", False), ("::ffff:10.0.0.9", False), ("fe80::1%eth0", False),
    ],
)  # fmt: skip
def test_this_machine_is_known_by_its_addresses(peer: str, is_ours: bool) -> None:
    assert is_loopback(peer) == is_ours


@pytest.mark.parametrize(
    ("headers", "is_ours"),
    [
        ({"sec-fetch-site": "none"}, True),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"origin": "http://127.0.0.1:9700"}, False),  # and nothing says that it is ours
        ({"origin": "http://127.0.0.1:9700", "host": "127.0.0.1:9700"}, True),
        ({"origin": "https://Proxy:9700", "host": "proxy:9700"}, True),
        ({"origin": "http://127.0.0.1:8080", "host": "127.0.0.1:9700"}, False),
        ({"origin": "http://evil.example", "host": "127.0.0.1:9700"}, False),
        ({"origin": "null", "host": "127.0.0.1:9700"}, False),
        ({"origin": "null", "host": ""}, False),
        ({"origin": "http://a", "host": "a", "sec-fetch-site": "cross-site"}, False),
        (
            {"origin": "https://behind.example", "host": "127.0.0.1:9700", "sec-fetch-site": "same-origin"},
            True,
        ),
        ({}, True),
    ],
)
def test_no_other_web_page_is_answered(headers: dict[str, str], is_ours: bool) -> None:
    assert (why_not_answered(headers) is None) == is_ours


def test_a_host_is_read_without_its_port() -> None:
    assert [host_name(host) for host in ("A.b:1", "a.b.", "[::1]:1", "::1")] == ["a.b", "a.b", "::1", ""]
