"""What an answer may say after what was seen before."""

from __future__ import annotations

import pytest

from shardproxy.store.etcd.errors import DataLostError, EtcdUnavailableError
from shardproxy.store.etcd.messages import Header
from shardproxy.store.etcd.position import Position

SEEN = Position("c", term=4, revision=100)


@pytest.mark.parametrize("header", [Header("c", 4, 100), Header("c", 5, 200), Header("c", 3, 100)])
def test_what_a_quorum_stands_behind_counts(header: Header) -> None:
    SEEN.check(header, "m0", is_agreed=True)


@pytest.mark.parametrize("header", [Header("c", 4, 99), Header("c", 9, 1), Header("d", 4, 100)])
def test_what_went_back_is_lost_data(header: Header) -> None:
    with pytest.raises(DataLostError, match="stop all proxies of this store"):
        SEEN.check(header, "m0", is_agreed=True)


def test_a_member_that_lags_may_keep_a_lease_alive() -> None:
    SEEN.check(Header("c", 4, 90), "m0", is_agreed=False)


def test_a_member_of_an_older_term_may_not() -> None:
    with pytest.raises(EtcdUnavailableError, match="does not know of the latest leader"):
        SEEN.check(Header("c", 3, 100), "m0", is_agreed=False)


def test_a_term_that_one_member_made_up_does_not_count() -> None:
    alone = SEEN.after(Header("c", 77, 100), is_agreed=False)
    assert alone == SEEN
    assert SEEN.after(Header("c", 5, 101), is_agreed=True) == Position("c", 5, 101)
    assert SEEN.after(Header("c", 3, 90), is_agreed=True) == SEEN
