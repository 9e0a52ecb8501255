"""Members of etcd die, freeze and are cut off; what a proxy shows stays true, or is said to be old."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trio

from shardproxy.config.store import EtcdStore as EtcdSettings
from shardproxy.model import Address
from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.store.etcd import EtcdStore
from shardproxy.store.etcd.clock import boottime
from shardproxy.store.etcd.messages import to_put
from shardproxy.store.interface import LeadershipLostError, StoreUnavailableError
from shardproxy.store.member import Member
from shardproxy.store.notes import NoteKey, NoteKind
from shardproxy.store.record import ShardRecord, ShardState
from tests.integration.store.contract.sites import CLUSTER, EtcdSite

KEY = ShardKey(CLUSTER, 0)
A, B = Address("10.0.0.1", 7001), Address("10.0.0.2", 7001)
RECORD = ShardRecord(KEY, 1, ShardState.OK, A, (A, B), joined=(A, B))
PAUSED = NoteKey(CLUSTER, NoteKind.PAUSED)


async def wait_for(board: Board[Any, Any], holds: Callable[[], bool], within: float = 5.0) -> None:
    with trio.fail_after(within):
        while not holds():
            await board.wait_changed(board.version)


@contextmanager
def times_synced(store: EtcdStore, seen: list[bool]) -> Iterator[None]:
    """Note every change of what the store says of being synced."""
    show = store.synced.show

    def noted(key: str, value: bool) -> None:
        if store.synced.get(key) != value:
            seen.append(value)
        show(key, value)

    store.synced.show = noted  # type: ignore[method-assign]
    yield
    store.synced.show = show  # type: ignore[method-assign]


async def test_a_leadership_outlives_the_leader_of_etcd(site: EtcdSite) -> None:
    store = await site.open_etcd()
    leadership = await store.claim(CLUSTER)
    record = await store.put(RECORD, leadership)
    killed = site.etcd.leader()
    killed.kill()
    began = trio.current_time()
    while True:
        try:
            record = await store.put(record.fenced(), leadership)
            break
        except StoreUnavailableError:
            assert trio.current_time() - began < 4
    assert trio.current_time() - began < 4
    assert store.records[KEY] == record
    await wait_for(store.synced, lambda: store.synced[CLUSTER])
    assert store.leaders[CLUSTER] == store.member


async def test_a_frozen_member_is_left_before_anybody_is_out_of_date(site: EtcdSite) -> None:
    one, two = await site.open_etcd("one"), await site.open_etcd("two")
    leadership = await one.claim(CLUSTER)
    record = await one.put(RECORD, leadership)
    led = site.etcd.leader()
    followers = [number for number, member in enumerate(site.etcd.members) if member is not led]
    for store in (one, two):
        site.point(store, followers[0])
    await trio.sleep(0.3)
    seen: list[bool] = []
    with times_synced(two, seen):
        site.etcd.members[followers[0]].freeze()
        try:
            began = trio.current_time()
            record = await one.put(record.fenced(), leadership)
            await wait_for(two.records, lambda: two.records[KEY] == record)
            assert trio.current_time() - began < 3.5
        finally:
            site.etcd.members[followers[0]].thaw()
    assert seen == []


async def test_all_members_down_change_nothing_and_come_back(site: EtcdSite) -> None:
    one, two = await site.open_etcd("one"), await site.open_etcd("two")
    record = await one.put(RECORD, await one.claim(CLUSTER))
    await one.announce(Member("one"))
    await wait_for(two.members, lambda: "one" in two.members)
    site.etcd.kill()
    await wait_for(two.synced, lambda: not two.synced[CLUSTER])
    assert (two.records[KEY], two.leaders[CLUSTER], set(two.members)) == (record, "one", {"one"})
    await trio.sleep(1.0)
    site.etcd.start()
    began = trio.current_time()
    await wait_for(two.synced, lambda: two.synced[CLUSTER])
    await wait_for(one.synced, lambda: one.synced[CLUSTER])
    leadership = await one.claim(CLUSTER)
    record = await one.put(one.records[KEY].fenced(), leadership)
    await wait_for(two.records, lambda: two.records[KEY] == record)
    assert "one" in two.members
    assert trio.current_time() - began < 5


async def test_what_was_compacted_during_a_cut_is_read_again(site: EtcdSite) -> None:
    one, two = await site.open_etcd("one"), await site.open_etcd("two", relayed=False)
    leadership = await two.claim(CLUSTER)
    record = await two.put(RECORD, leadership)
    await two.note(PAUSED, 1)
    await wait_for(one.notes, lambda: PAUSED in one.notes)
    site.out_of_reach()
    for _ in range(20):
        record = await two.put(record.fenced(), leadership)
    await two.drop(PAUSED)
    site.etcd.ctl("compact", str(record.revision))
    site.in_reach()
    await wait_for(one.records, lambda: one.records[KEY] == record)
    assert PAUSED not in one.notes


async def test_a_silent_watch_is_found(site: EtcdSite) -> None:
    """Connections to one member are half open: nothing comes, and nothing says so."""
    one, two = await site.open_etcd("one"), await site.open_etcd("two", relayed=False)
    site.point(one, 1)
    await trio.sleep(0.2)
    leadership = await two.claim(CLUSTER)
    record = await two.put(RECORD, leadership)
    await wait_for(one.records, lambda: KEY in one.records)
    seen: list[bool] = []
    with times_synced(one, seen):
        site.relays[1].silence()
        began = trio.current_time()
        record = await two.put(record.fenced(), leadership)
        await wait_for(one.records, lambda: one.records[KEY] == record)
        assert trio.current_time() - began < 3.0
    assert seen == [], "it goes on with another member in time"


async def test_who_was_cut_off_is_synced_once_it_has_caught_up(site: EtcdSite) -> None:
    """The watch tells of what it missed in parts; nothing says which is the last one."""
    one, two = await site.open_etcd("one"), await site.open_etcd("two", relayed=False)
    await one.announce(Member("one"))
    leadership = await two.claim(CLUSTER)
    record = await two.put(RECORD, leadership)
    await wait_for(one.records, lambda: one.records.get(KEY) == record)
    site.out_of_reach()
    await wait_for(two.members, lambda: "one" not in two.members, within=site.ttl + 3)
    for first in range(0, 3000, 100):
        key = f"{site.prefix}/renew/other{first}"
        for _ in range(100):
            await two._transactions.make((), [to_put(key, b"x")], is_counted=False)
    record = await two.put(record.fenced(), leadership)
    believed: list[int] = []
    show, show_lease = one.synced.show, one.leases.show

    def synced(key: str, value: bool) -> None:
        if value:
            believed.append(one.records[KEY].epoch)
        show(key, value)

    def leased(key: str, value: float) -> None:
        if value > boottime():
            believed.append(one.records[KEY].epoch)
        show_lease(key, value)

    one.synced.show, one.leases.show = synced, leased  # type: ignore[method-assign]
    site.in_reach()
    await wait_for(one.synced, lambda: one.synced[CLUSTER], within=5)
    assert set(believed) == {record.epoch}
    assert one.records[KEY] == record
    assert "one" in two.members


@pytest.mark.parametrize("is_follower", [False, True])
async def test_a_watch_that_is_late_is_not_believed(site: EtcdSite, *, is_follower: bool) -> None:
    """All that it tells comes, some seconds after it was."""
    one = site.make("one", is_follower=is_follower)
    two = await site.open_etcd("two", relayed=False)
    leadership = await two.claim(CLUSTER)
    record = await two.put(RECORD, leadership)
    await site.have_run(one, (CLUSTER,))
    if not is_follower:
        await one.announce(Member("one"))
        await wait_for(two.members, lambda: "one" in two.members)
    assert one.synced[CLUSTER]
    for relay in site.relays:
        relay.delay(4.0, b"/v3/watch")
    await wait_for(one.synced, lambda: not one.synced[CLUSTER], within=10)
    record = await two.put(record.fenced(), leadership)
    with trio.move_on_after(5.0):
        await wait_for(one.synced, lambda: one.synced[CLUSTER])
    assert not one.synced[CLUSTER]
    if not is_follower:
        await wait_for(two.members, lambda: "one" not in two.members, within=site.ttl + 3)
    for relay in site.relays:
        relay.heal()
    await wait_for(one.synced, lambda: one.synced[CLUSTER], within=10)
    assert one.records[KEY] == record


async def test_a_put_returns_once_members_are_as_new(site: EtcdSite) -> None:
    """A fence waits for the members that there are: one that came before it is among them."""
    one, two = await site.open_etcd("one"), await site.open_etcd("two", relayed=False)
    leadership = await one.claim(CLUSTER)
    record = await one.put(RECORD, leadership)
    for relay in site.relays:
        relay.delay(0.7, b"/v3/watch")
    await wait_for(one.leaders, lambda: not one._reader.why_not and bool(one._reader._told))
    await trio.sleep(1.5)  # the watch is there again, and late
    await two.announce(Member("two"))
    await two.ack(KEY, record.changed)
    fenced = await one.put(record.fenced(), leadership)
    assert "two" in one.members
    assert two.acks["two", KEY] < fenced.changed
    for relay in site.relays:
        relay.delay(4.0, b"/v3/watch")
    with pytest.raises((StoreUnavailableError, LeadershipLostError)):
        await one.put(fenced.fenced(), leadership)


async def test_nobody_is_synced_whom_the_others_do_not_know(
    site: EtcdSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease is there, and etcd refuses the key."""
    one = await site.open_etcd("one")
    await wait_for(one.synced, lambda: one.synced[CLUSTER])
    make = one._transactions.make

    async def refuse(*given: Any, **also: Any) -> Any:
        raise StoreUnavailableError("permission denied")

    monkeypatch.setattr(one._transactions, "make", refuse)
    with pytest.raises(StoreUnavailableError):
        await one.announce(Member("one"))
    await wait_for(one.synced, lambda: not one.synced[CLUSTER])
    assert one.leases[CLUSTER] < boottime()
    monkeypatch.setattr(one._transactions, "make", make)
    await wait_for(one.synced, lambda: one.synced[CLUSTER])
    assert one.leases[CLUSTER] > boottime()


async def test_a_put_whose_answer_is_lost_has_happened_once(site: EtcdSite) -> None:
    store = await site.open_etcd()
    leadership = await store.claim(CLUSTER)
    first = await store.put(RECORD, leadership)
    site.point(store, 0)
    await store.note(PAUSED, 1)  # it has a connection there
    site.relays[0].mute()
    second = await store.put(first.fenced(), leadership)
    note = await store.note(PAUSED, 2)
    assert store.records[KEY] == second
    assert store.notes[PAUSED] == note
    assert "version: 2" in site.field(f"shard/{CLUSTER}/0")
    leadership_again = await store.claim(CLUSTER)
    assert leadership_again.covers(0.5)


async def test_a_lease_that_ended_is_followed_by_another_with_all_that_was_said(site: EtcdSite) -> None:
    one, two = await site.open_etcd("one"), await site.open_etcd("two")
    await one.announce(Member("one", label="web"))
    await one.ack(KEY, 7)
    await wait_for(two.acks, lambda: ("one", KEY) in two.acks)
    leadership = await one.claim(CLUSTER)
    leases = site.etcd.ctl("lease", "list").split("\n")[1:]
    site.etcd.ctl("lease", "revoke", next(lease for lease in leases if site.has(lease, "member/one")))
    await wait_for(two.members, lambda: "one" not in two.members)
    await wait_for(two.members, lambda: two.members.get("one") == Member("one", label="web"))
    await wait_for(two.acks, lambda: two.acks.get(("one", KEY)) == 7)
    with pytest.raises(LeadershipLostError):
        await one.put(RECORD, leadership)
    with trio.fail_after(3):
        await one.put(RECORD, await one.claim(CLUSTER))


async def test_a_claim_that_was_given_up_leads_nobody(site: EtcdSite) -> None:
    """Its key may have been made already; it would keep all others from leading."""
    one, two = await site.open_etcd("one"), await site.open_etcd("two")
    site.relays[0].mute()
    site.point(one, 0)
    with trio.move_on_after(0.4):
        await one.claim(CLUSTER)
    site.relays[0].heal()
    with trio.fail_after(6):
        await two.claim(CLUSTER)


async def test_a_thousand_keys_are_watched(site: EtcdSite) -> None:
    one, two = await site.open_etcd("one"), await site.open_etcd("two")
    leadership = await one.claim(CLUSTER)
    records = {}

    async def put(number: int) -> None:
        record = ShardRecord(ShardKey(CLUSTER, number), 1, ShardState.OK, A, (A, B))
        records[record.key] = await one.put(record, leadership)

    async with trio.open_nursery() as nursery:
        for number in range(250):
            nursery.start_soon(put, number)
    value = b'{"by":"one","turn":1,"value":"%b"}' % (b"x" * 200)
    for first in range(0, 750, 50):
        keys = [f"{site.prefix}/note/{CLUSTER}/event/{number:020d}" for number in range(first, first + 50)]
        await one._transactions.make((), [to_put(key, value) for key in keys])
    await wait_for(two.notes, lambda: len(two.notes) == 750)
    assert dict(two.records) == dict(one.records) == records
    assert {note.value for note in two.notes.values()} == {"x" * 200}
    began = trio.current_time()
    late = await site.open_etcd("late")
    assert trio.current_time() - began < 2
    assert dict(late.records) == records
    assert dict(late.notes) == dict(two.notes)


async def test_why_nobody_answers_is_said(capsys: pytest.CaptureFixture[str], nursery: trio.Nursery) -> None:
    store = EtcdStore(EtcdSettings(endpoints=("http://localhost:1",)), member="one")
    nursery.start_soon(store.run)
    log = ""
    with trio.fail_after(5):
        while not re.search(r"http://localhost:1: .*Connection refused", log):
            await trio.sleep(0.05)
            log += capsys.readouterr().out
    nursery.cancel_scope.cancel()
