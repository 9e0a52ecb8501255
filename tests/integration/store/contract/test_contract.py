"""What any store promises, whatever holds the data: each test runs on each of `SITES`."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import trio

from shardproxy.model import Address, EndpointKind, SlotRange
from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import (
    MAX_TOGETHER,
    ConflictError,
    LeadershipLostError,
    Store,
    StoreUnavailableError,
)
from shardproxy.store.member import Advertised, Finding, Member, Vote
from shardproxy.store.notes import MAX_NOTE, MAX_NOTES, NoteKey, NoteKind
from shardproxy.store.record import Promise, ShardRecord, ShardState
from tests.integration.store.contract.sites import CLUSTER, Site

OTHER = "pages"
KEY = ShardKey(CLUSTER, 0)
A, B = Address("10.0.0.1", 7001), Address("10.0.0.2", 7001)
RECORD = ShardRecord(KEY, 1, ShardState.OK, A, (A, B), joined=(A, B), promise=Promise(frozenset({B}), 1))
PAUSED = NoteKey(CLUSTER, NoteKind.PAUSED)
SOON = 2.0  # seconds for others to see what was written
EXPIRY = 2.5  # seconds beyond the time to live until nothing of a dead member is left


async def wait_for(board: Board[Any, Any], holds: Callable[[], bool], within: float = SOON) -> None:
    with trio.fail_after(within):
        while not holds():
            await board.wait_changed(board.version)


def member(name: str, **given: Any) -> Member:
    endpoints = {CLUSTER: (Advertised(EndpointKind.CONFIGURATION, "10.0.0.9:6379"),)}
    return Member(name, label="web", version="1.0", endpoints=endpoints, epochs={CLUSTER: 3}, **given)


# --- who leads ---


async def test_one_leads_at_a_time(site: Site) -> None:
    one = await site.open("one")
    first = await one.claim(CLUSTER)
    if not site.is_shared:
        return
    two = await site.open("two")
    assert one.group == two.group != ""
    await wait_for(two.leaders, lambda: two.leaders.get(CLUSTER) == "one")
    with trio.move_on_after(0.5) as waited:
        await two.claim(CLUSTER)
    assert waited.cancelled_caught
    await first.resign()
    with trio.fail_after(SOON):
        second = await two.claim(CLUSTER)
    assert second.revision > first.revision
    await wait_for(one.leaders, lambda: one.leaders.get(CLUSTER) == "two")


async def test_clusters_are_led_apart(site: Site) -> None:
    one = await site.open("one", follows=(CLUSTER, OTHER))
    mine = await one.claim(CLUSTER)
    other = await (await site.open("two", follows=(CLUSTER, OTHER)) if site.is_shared else one).claim(OTHER)
    assert (mine.cluster, other.cluster) == (CLUSTER, OTHER)
    await one.put(RECORD, mine)
    with pytest.raises(LeadershipLostError):
        await one.put(replace(RECORD, key=ShardKey(OTHER, 0)), mine)


async def test_who_claims_again_has_a_new_token_and_the_one_before_is_void(site: Site) -> None:
    store = await site.open()
    first = await store.claim(CLUSTER)
    second = await store.claim(CLUSTER)
    assert second.revision > first.revision
    with pytest.raises(LeadershipLostError):
        await store.put(RECORD, first)
    assert (await store.put(RECORD, second)).revision > 0


async def test_nothing_is_written_after_resigning(site: Site) -> None:
    store = await site.open()
    leadership = await store.claim(CLUSTER)
    await leadership.resign()
    await leadership.resign()
    assert CLUSTER not in store.leaders
    with pytest.raises(LeadershipLostError):
        await store.put(RECORD, leadership)
    with trio.fail_after(SOON):
        assert (await store.claim(CLUSTER)).revision > leadership.revision


async def test_a_leadership_covers_no_more_than_its_lease(site: Site) -> None:
    store = await site.open()
    leadership = await store.claim(CLUSTER)
    assert leadership.covers(0.5)
    if site.is_shared:
        assert not leadership.covers(site.ttl + 0.1)
    await leadership.resign()
    assert not leadership.covers(0.0) or not site.is_shared


async def test_a_dead_leader_is_followed_by_the_next(site: Site) -> None:
    if not site.is_shared:
        pytest.skip("one at a time")
    one, two = await site.open("one"), await site.open("two")
    first = await one.claim(CLUSTER)
    stored = await one.put(RECORD, first)
    await site.kill(one)
    with trio.fail_after(site.ttl + EXPIRY):
        second = await two.claim(CLUSTER)
    assert two.records[KEY] == stored
    assert (await two.put(stored.fenced(), second)).epoch == 2
    assert not first.covers(0.0)


async def test_a_leader_that_leaves_is_followed_at_once(site: Site) -> None:
    if not site.is_shared:
        pytest.skip("one at a time")
    one, two = await site.open("one"), await site.open("two")
    await one.claim(CLUSTER)
    await one.leave()
    with trio.fail_after(SOON):
        await two.claim(CLUSTER)


# --- records ---


async def test_only_what_was_read_last_is_replaced(site: Site) -> None:
    store = await site.open()
    leadership = await store.claim(CLUSTER)
    first = await store.put(RECORD, leadership)
    assert store.records[KEY] == first
    second = await store.put(first.fenced(), leadership)
    assert second.revision > first.revision > 0
    for stale in (RECORD, first.fenced()):
        with pytest.raises(ConflictError):
            await store.put(stale, leadership)
    with pytest.raises(ConflictError):
        await store.put(replace(second, epoch=1), leadership)
    bound = await store.put(second.promoting(B), leadership)
    with pytest.raises(ConflictError):
        await store.put(replace(bound, target=A), leadership)
    assert store.records[KEY] == bound


async def test_changed_is_the_revision_of_what_proxies_act_on(site: Site) -> None:
    store = await site.open()
    leadership = await store.claim(CLUSTER)
    first = await store.put(RECORD, leadership)
    assert first.changed == first.revision
    noted = await store.put(replace(first, floor=7), leadership)
    assert noted.revision > first.revision
    assert noted.changed == first.changed
    fenced = await store.put(noted.fenced(), leadership)
    assert fenced.changed == fenced.revision > first.changed
    if site.is_shared:
        two = await site.open("two")
        assert two.records[KEY] == fenced


async def test_others_see_what_is_put(site: Site) -> None:
    if not site.is_shared:
        pytest.skip("one at a time")
    one, two = await site.open("one"), await site.open("two")
    leadership = await one.claim(CLUSTER)
    record = await one.put(RECORD, leadership)
    await wait_for(two.records, lambda: two.records.get(KEY) == record)
    for _ in range(5):
        record = await one.put(record.fenced(), leadership)
    await wait_for(two.records, lambda: two.records.get(KEY) == record)
    late = await site.open("late")
    assert late.records[KEY] == record


def pair(*slots: tuple[SlotRange, ...], revisions: tuple[int, int] = (0, 0)) -> list[ShardRecord]:
    keys = (KEY, ShardKey(CLUSTER, 1))
    return [
        replace(RECORD, key=key, slots=of, revision=revision)
        for key, of, revision in zip(keys, slots, revisions, strict=True)
    ]


LOW, HIGH = SlotRange(0, 8191), SlotRange(8192, 16383)


async def test_several_records_are_replaced_together_or_not_at_all(site: Site) -> None:
    store = await site.open()
    leadership = await store.claim(CLUSTER)
    first, second = await store.put_all(pair((LOW,), (HIGH,)), leadership)
    assert (first.slots, second.slots) == ((LOW,), (HIGH,))
    assert first.revision == second.revision == first.changed == second.changed > 0
    assert dict(store.records) == {first.key: first, second.key: second}
    late = pair((), (LOW, HIGH), revisions=(first.revision, second.revision - 1))
    with pytest.raises(ConflictError):
        await store.put_all(late, leadership)
    assert dict(store.records) == {first.key: first, second.key: second}
    moved = pair((), (LOW, HIGH), revisions=(first.revision, second.revision))
    stored = await store.put_all(moved, leadership)
    assert [record.slots for record in stored] == [(), (LOW, HIGH)]
    assert stored[0].revision == stored[1].revision > first.revision
    same = await store.put_all([replace(stored[0], floor=7)], leadership)
    assert (same[0].changed, same[0].revision > stored[0].revision) == (stored[0].changed, True)


async def test_what_cannot_be_replaced_together_is_refused(site: Site) -> None:
    store = await site.open()
    leadership = await store.claim(CLUSTER)
    for wrong in ([], [RECORD, RECORD], [RECORD, replace(RECORD, key=ShardKey(OTHER, 0))]):
        with pytest.raises(ValueError, match="record"):
            await store.put_all(wrong, leadership)
    many = [replace(RECORD, key=ShardKey(CLUSTER, number)) for number in range(MAX_TOGETHER + 1)]
    with pytest.raises(ValueError, match="together"):
        await store.put_all(many, leadership)
    assert len(await store.put_all(many[:-1], leadership)) == MAX_TOGETHER
    await leadership.resign()
    with pytest.raises(LeadershipLostError):
        await store.put_all(many[-1:], leadership)
    assert many[-1].key not in store.records


async def test_nobody_sees_slots_with_two_owners_or_with_none(site: Site) -> None:
    """Whatever is read, and whenever: a member that follows, and one that starts meanwhile."""
    store = await site.open("one")
    watching = await site.open("two") if site.is_shared else store
    leadership = await store.claim(CLUSTER)
    records = await store.put_all(pair((LOW,), (HIGH,)), leadership)
    seen: list[list[tuple[SlotRange, ...]]] = []

    async def watch(store: Store) -> None:
        while True:
            version = store.records.version
            if len(store.records) == 2:
                seen.append([store.records[record.key].slots for record in records])
            await store.records.wait_changed(version)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, watching)
        for turn in range(20):
            slots = ((), (LOW, HIGH)) if turn % 2 else ((LOW, HIGH), ())
            revisions = (records[0].revision, records[1].revision)
            records = await store.put_all(pair(*slots, revisions=revisions), leadership)
            if turn == 10 and site.is_shared:
                nursery.start_soon(watch, await site.open("three"))
        await wait_for(
            watching.records, lambda: watching.records[records[0].key].revision == records[0].revision
        )
        nursery.cancel_scope.cancel()
    assert len(seen) > 2
    assert all(sorted(one for of in slots for one in of) == [LOW, HIGH] for slots in seen)


async def test_records_outlive_their_process(site: Site) -> None:
    one = await site.open("one")
    stored = await one.put(RECORD, await one.claim(CLUSTER))
    group = one.group
    await one.leave()
    await site.kill(one)
    again = await site.open("again")
    assert again.records[KEY] == stored
    assert again.group == group


async def test_only_followed_clusters_are_shown(site: Site) -> None:
    store = await site.open(follows=(CLUSTER, OTHER))
    mine, other = await store.claim(CLUSTER), await store.claim(OTHER)
    elsewhere = ShardKey(OTHER, 0)
    stored = await store.put(RECORD, mine)
    await store.put(replace(RECORD, key=elsewhere), other)
    await store.note(PAUSED, True)
    await store.note(replace(PAUSED, cluster=OTHER), True)
    await store.follow([CLUSTER])
    assert set(store.records) == {KEY}
    assert {key.cluster for key in store.notes} == {CLUSTER}
    assert set(store.synced) == {CLUSTER}
    store.records.show(replace(elsewhere, cluster="theirs"), RECORD)  # of whoever decides about it
    await store.follow([OTHER])
    assert set(store.records) == {elsewhere, ShardKey("theirs", 0)}
    await store.follow([CLUSTER, OTHER])
    assert store.records[KEY] == stored
    assert len(store.notes) == 2


# --- what live members say ---


async def test_members_say_who_they_are(site: Site) -> None:
    one = await site.open("one")
    await one.announce(member("one"))
    assert one.members["one"] == member("one")
    await one.announce(member("one", is_draining=True))
    assert one.members["one"].is_draining
    if not site.is_shared:
        return
    two = await site.open("two")
    await wait_for(two.members, lambda: two.members.get("one") == member("one", is_draining=True))
    await two.announce(member("two", clients=3))
    await wait_for(one.members, lambda: one.members.get("two") == member("two", clients=3))


async def say_all(store: Store) -> None:
    await store.announce(member(store.member))
    for number in range(40):
        await store.ack(ShardKey(CLUSTER, number), number + 1)
    await store.vote({KEY: Vote(str(A), Finding.DOWN, "silent")})


def is_said(by: str, to: Store) -> bool:
    acks = {key: changed for (name, key), changed in to.acks.items() if name == by}
    is_all = acks == {ShardKey(CLUSTER, number): number + 1 for number in range(40)}
    return by in to.members and is_all and to.votes.get((by, KEY)) == Vote(str(A), Finding.DOWN, "silent")


def is_gone(by: str, of: Store) -> bool:
    said = [name for board in (of.acks, of.votes) for name, _ in board]
    return by not in of.members and by not in said


async def test_what_a_member_says_goes_when_it_leaves(site: Site) -> None:
    one = await site.open("one")
    await say_all(one)
    assert is_said("one", one)
    two = await site.open("two") if site.is_shared else one
    await wait_until_said("one", two)
    await one.leave()
    assert is_gone("one", one)
    with trio.fail_after(SOON):
        while not is_gone("one", two):
            await two.members.wait_changed(two.members.version)


async def test_what_a_member_says_goes_when_it_dies(site: Site) -> None:
    if not site.is_shared:
        pytest.skip("one at a time")
    one, two = await site.open("one"), await site.open("two")
    await say_all(one)
    await wait_until_said("one", two)
    await site.kill(one)
    await trio.sleep(site.ttl / 2)
    assert is_said("one", two)
    with trio.fail_after(site.ttl / 2 + EXPIRY):
        while not is_gone("one", two):
            await two.members.wait_changed(two.members.version)


async def wait_until_said(by: str, to: Store) -> None:
    await wait_for(to.acks, lambda: len([name for name, _ in to.acks if name == by]) == 40)
    await wait_for(to.votes, lambda: (by, KEY) in to.votes)
    assert is_said(by, to)


async def test_votes_and_acks_change(site: Site) -> None:
    one = await site.open("one")
    two = await site.open("two") if site.is_shared else one
    await one.vote({KEY: Vote(str(A), Finding.SUSPECT, "late")})
    await wait_for(two.votes, lambda: ("one", KEY) in two.votes)
    await one.vote({KEY: Vote(str(A), Finding.DOWN, "silent")})
    await wait_for(two.votes, lambda: two.votes[("one", KEY)].finding is Finding.DOWN)
    await one.vote({KEY: None})
    await wait_for(two.votes, lambda: ("one", KEY) not in two.votes)
    await one.ack(KEY, 4)
    await one.ack(KEY, 5)
    await wait_for(two.acks, lambda: two.acks.get(("one", KEY)) == 5)
    await one.ack(KEY, None)
    await wait_for(two.acks, lambda: ("one", KEY) not in two.acks)


async def test_who_follows_a_cluster_no_more_takes_back_what_it_said_of_it(site: Site) -> None:
    one = await site.open("one")
    two = await site.open("two") if site.is_shared else one
    await one.ack(KEY, 4)
    await wait_for(two.acks, lambda: two.acks.get(("one", KEY)) == 4)
    await one.follow([])
    assert ("one", KEY) in one.acks, "nobody forgets that there is something to take back"
    await one.ack(KEY, None)
    await wait_for(two.acks, lambda: ("one", KEY) not in two.acks)


# --- notes ---


async def test_the_last_writer_of_a_note_wins(site: Site) -> None:
    one = await site.open("one")
    two = await site.open("two") if site.is_shared else one
    first = await one.note(PAUSED, {"by": "one"})
    assert one.notes[PAUSED] == first
    await wait_for(two.notes, lambda: two.notes.get(PAUSED) == first)
    second = await two.note(PAUSED, {"by": "two", "why": "ü\n"})
    assert second.revision > first.revision
    await wait_for(one.notes, lambda: one.notes.get(PAUSED) == second)
    await one.drop(PAUSED)
    await one.drop(PAUSED)
    await wait_for(two.notes, lambda: PAUSED not in two.notes)


async def test_a_note_is_replaced_only_as_expected(site: Site) -> None:
    one = await site.open("one")
    two = await site.open("two") if site.is_shared else one
    key = NoteKey(CLUSTER, NoteKind.REQUEST, "0")
    first = await one.note(key, 1, expected=0)
    with pytest.raises(ConflictError):
        await two.note(key, 2, expected=0)
    second = await two.note(key, 2, expected=first.revision)
    with pytest.raises(ConflictError):
        await one.note(key, 3, expected=first.revision)
    with pytest.raises(ConflictError):
        await one.drop(key, expected=first.revision)
    await wait_for(one.notes, lambda: one.notes[key] == second)
    await one.drop(key, expected=second.revision)
    await one.drop(key, expected=second.revision)
    await wait_for(two.notes, lambda: key not in two.notes)
    assert (await two.note(key, 4, expected=0)).revision > second.revision


async def test_notes_outlive_their_writer_and_keep_their_names(site: Site) -> None:
    one = await site.open("one")
    names = ["", "a/b", "00012-web-1", "ü %2F"]
    for name in names:
        await one.note(NoteKey(CLUSTER, NoteKind.EVENT, name), name)
    await one.leave()
    await site.kill(one)
    two = await site.open("two")
    assert {key.name: note.value for key, note in two.notes.items()} == {name: name for name in names}


async def test_notes_have_limits(site: Site) -> None:
    store = await site.open()
    with pytest.raises(ValueError):
        await store.note(PAUSED, "x" * MAX_NOTE)
    assert PAUSED not in store.notes
    part = "x" * (MAX_NOTES // 3)
    for number in range(2):
        await store.note(NoteKey(CLUSTER, NoteKind.SCRIPT, str(number)), part)
    with pytest.raises(ValueError):
        await store.note(NoteKey(CLUSTER, NoteKind.SCRIPT, "more"), part)
    await store.note(NoteKey(CLUSTER, NoteKind.SCRIPT, "0"), "less")
    await store.note(NoteKey(CLUSTER, NoteKind.SCRIPT, "more"), part)
    await store.note(NoteKey(CLUSTER, NoteKind.USERS), part)


# --- when it is out of reach ---


async def test_members_know_whether_they_are_synced(site: Site) -> None:
    store = await site.open()
    await store.claim(CLUSTER)
    assert store.synced[CLUSTER] is True
    if not site.is_shared:
        assert CLUSTER not in store.leases
        return
    await trio.sleep(site.ttl)
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert store.synced[CLUSTER] is True
    assert site.ttl * 0.6 < store.leases[CLUSTER] - now <= site.ttl


async def test_out_of_reach_nothing_changes_and_that_is_said(site: Site) -> None:
    if not site.is_shared:
        pytest.skip("always in reach")
    one, two = await site.open("one"), await site.open("two")
    leadership = await one.claim(CLUSTER)
    stored = await one.put(RECORD, leadership)
    await say_all(one)
    await wait_until_said("one", two)
    site.out_of_reach()
    began = trio.current_time()
    await wait_for(one.synced, lambda: one.synced[CLUSTER] is False, within=site.ttl)
    assert trio.current_time() - began > 0.3 * site.ttl
    assert time.clock_gettime(time.CLOCK_BOOTTIME) < one.leases[CLUSTER]

    async def refused(write: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises((StoreUnavailableError, LeadershipLostError)):
            await write()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(refused, partial(one.put, stored.fenced(), leadership))
        nursery.start_soon(refused, partial(one.note, PAUSED, True))
        nursery.start_soon(refused, partial(two.drop, PAUSED))
    assert two.records[KEY] == one.records[KEY] == stored
    assert is_said("one", two)
    assert not leadership.covers(site.ttl)
    with trio.fail_after(20):
        with pytest.raises(StoreUnavailableError):
            await two.claim(CLUSTER)
        site.in_reach()
        await wait_for(one.synced, lambda: one.synced[CLUSTER] is True, within=10)
        await wait_for(two.synced, lambda: two.synced[CLUSTER] is True, within=10)
        third = await one.claim(CLUSTER)
        changed = await one.put(one.records[KEY].fenced(), third)
        await wait_for(two.records, lambda: two.records[KEY] == changed, within=5)
        await wait_until_said("one", two)


async def test_a_start_out_of_reach_begins_with_what_was_kept(site: Site) -> None:
    if not site.is_shared:
        pytest.skip("always in reach")
    one = await site.open("one", keeps=True)
    await one.note(PAUSED, True)
    stored = await one.put(RECORD, await one.claim(CLUSTER))
    group = one.group
    await trio.sleep(1.5)  # what is kept is written once a second
    await site.kill(one)
    site.out_of_reach()
    with trio.fail_after(10):
        two = await site.open("two", keeps=True)
    assert two.records[KEY] == stored
    assert two.notes[PAUSED].value is True
    assert two.group == group
    assert two.synced[CLUSTER] is False
    site.in_reach()
    await wait_for(two.synced, lambda: two.synced[CLUSTER] is True, within=10)


# --- those that only read ---


async def test_followers_read_and_say_nothing(site: Site) -> None:
    if not site.is_shared:
        pytest.skip("one at a time")
    one = await site.open("one")
    leadership = await one.claim(CLUSTER)
    stored = await one.put(RECORD, leadership)
    follower = await site.open("reader", is_follower=True)
    await follower.announce(member("reader"))
    await follower.ack(KEY, 3)
    assert follower.records[KEY] == stored
    assert set(follower.members) == {"reader"}
    with trio.move_on_after(0.3) as waited:
        await follower.claim(CLUSTER)
    assert waited.cancelled_caught
    for write in (
        partial(follower.put, stored.fenced(), leadership),
        partial(follower.note, PAUSED, True),
        partial(follower.drop, PAUSED),
    ):
        with pytest.raises(StoreUnavailableError):
            await write()
    before = follower.statistics.requests
    await trio.sleep(3.5)
    assert follower.synced[CLUSTER] is True
    assert follower.statistics.requests <= before + 1, "it lives on what the leader touches"
    assert "reader" not in one.members
    assert not one.acks
    changed = await one.put(stored.fenced(), leadership)
    await wait_for(follower.records, lambda: follower.records[KEY] == changed)


async def test_requests_are_counted(site: Site) -> None:
    store = await site.open()
    before = store.statistics.writes
    await store.note(PAUSED, True)
    assert store.statistics.writes == before + 1
    assert store.statistics.requests > 0 or not site.is_shared
