"""Buckets of logins, and where those who try them are."""

from __future__ import annotations

import pytest

from shardproxy.access.throttle import MAX_KNOWN, Throttle, origin_of


def test_a_bucket_refills() -> None:
    throttle = Throttle(burst=2, per_second=0.5)
    assert [throttle.is_taken("a", 0) for _ in range(3)] == [True, True, False]
    assert throttle.is_taken("b", 0)
    assert not throttle.is_left("a", 1.9)
    assert throttle.is_left("a", 2)
    assert throttle.is_left("a", 2), "to look takes none"
    assert [throttle.is_taken("a", 1000) for _ in range(3)] == [True, True, False]


def test_whoever_tried_longest_ago_is_forgotten() -> None:
    throttle = Throttle(burst=1, per_second=0)
    assert throttle.is_taken("first", 0)
    assert not throttle.is_taken("first", 0)
    for number in range(3 * MAX_KNOWN):
        assert throttle.is_taken(number, 0)
        assert throttle.is_left("nobody", 0)
    assert len(throttle) == MAX_KNOWN
    assert not throttle.is_left(3 * MAX_KNOWN - 1, 0)
    assert throttle.is_left("first", 0)


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("10.0.0.1:5000", "10.0.0.1"),
        ("[2001:db8:1:2:3::4]:5000", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2:9::9]:5001", "2001:db8:1:2::/64"),
        ("[2001:db8:1:3::4]:5000", "2001:db8:1:3::/64"),
        ("[::ffff:10.0.0.1]:5000", "10.0.0.1"),
        ("[fe80::1%eth0]:5000", "fe80::/64"),
        ("/run/proxy.sock:0", "/run/proxy.sock"),
        ("", ""),
    ],
)
def test_an_origin_has_no_port(address: str, origin: str) -> None:
    assert origin_of(address) == origin
