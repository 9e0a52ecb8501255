"""Who is who in a primary's list of replicas."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardproxy.health.attached import Member, attachment
from shardproxy.model import Address


def at(text: str) -> Address:
    return Address.parse(text)


A, B = at("10.0.0.1:6379"), at("10.0.0.2:6379")
NAMED = at("redis-1:6379")
READER = Address("10.0.0.9", 0)  # reads the stream, listens nowhere


@pytest.mark.parametrize(
    ("listed", "members", "seen_as", "strangers"),
    [
        ([A], [Member(A)], {A: A}, []),
        ([A], [Member(NAMED, peer="10.0.0.1")], {NAMED: A}, []),
        ([at("10.0.0.1:6380")], [Member(A)], {}, [at("10.0.0.1:6380")]),
        ([at("pod-1:7000")], [Member(A, "10.0.0.1", at("pod-1:7000"))], {A: at("pod-1:7000")}, []),
        ([at("pod-1:6379")], [Member(A, "10.0.0.1", Address("pod-1", 0))], {A: at("pod-1:6379")}, []),
        ([at("10.0.0.1:7000")], [Member(A, "10.0.0.1", Address("", 7000))], {A: at("10.0.0.1:7000")}, []),
        ([A], [Member(A, "10.0.0.1", at("pod-1:7000"))], {}, [A]),  # it says it is called otherwise
        # by elimination
        ([at("172.17.0.1:6379")], [Member(A, is_in_sync=True)], {A: at("172.17.0.1:6379")}, []),
        ([at("172.17.0.1:6379")], [Member(A)], {}, [at("172.17.0.1:6379")]),
        ([at("172.17.0.1:7000")], [Member(A, is_in_sync=True)], {}, [at("172.17.0.1:7000")]),
        (
            [A, at("172.17.0.1:6379")],
            [Member(A), Member(NAMED, is_in_sync=True)],
            {A: A, NAMED: at("172.17.0.1:6379")},
            [],
        ),
        (
            [at("172.17.0.1:6379"), at("172.17.0.2:6379")],
            [Member(A, is_in_sync=True)],
            {},
            [at("172.17.0.1:6379"), at("172.17.0.2:6379")],
        ),
        (
            [at("172.17.0.1:6379")],
            [Member(A, is_in_sync=True), Member(B, is_in_sync=True)],
            {},
            [at("172.17.0.1:6379")],
        ),
        # strangers
        ([A, B], [Member(A)], {A: A}, [B]),
        ([A, READER], [Member(A), Member(NAMED, is_in_sync=True)], {A: A}, [READER]),
        ([], [Member(A, is_in_sync=True)], {}, []),
    ],
)
def test_members_and_strangers(
    listed: list[Address], members: list[Member], seen_as: dict[Address, Address], strangers: list[Address]
) -> None:
    found = attachment(listed, members)
    assert dict(found.seen_as) == seen_as
    assert list(found.strangers) == strangers


HOSTS = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3"])
PORTS = st.sampled_from([0, 6379, 7000])
ADDRESSES = st.builds(Address, HOSTS, PORTS)
MEMBERS = st.builds(
    Member,
    st.builds(Address, HOSTS, st.sampled_from([6379, 7000])),
    st.one_of(st.just(""), HOSTS),
    st.one_of(st.none(), ADDRESSES),
    st.booleans(),
)


@given(st.lists(ADDRESSES, unique=True), st.lists(MEMBERS, unique_by=lambda member: member.address))
def test_every_entry_is_a_member_or_a_stranger(listed: list[Address], members: list[Member]) -> None:
    found = attachment(listed, members)
    assert set(found.seen_as.values()) | set(found.strangers) == set(listed)
    assert not set(found.seen_as.values()) & set(found.strangers)
    assert all(entry.port for entry in found.seen_as.values())
