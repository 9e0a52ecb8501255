"""etcd at length: members that are alone or emptied, a leader that was frozen, and what is asked of it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest
import trio

from shardproxy.store.etcd import EtcdStore
from shardproxy.store.interface import LeadershipLostError, StoreUnavailableError
from shardproxy.store.member import Member
from tests.integration.store.contract.sites import CLUSTER, EtcdSite
from tests.integration.store.etcd.test_faults import KEY, PAUSED, RECORD, wait_for
from tests.integration.store.etcd.test_lost_data import why_lost


async def test_a_member_without_the_others_is_not_believed(site: EtcdSite) -> None:
    """It answers reads that nobody else has to agree to, and for a while keeps leases alive."""
    store = await site.open_etcd()
    leadership = await store.claim(CLUSTER)
    record = await store.put(RECORD, leadership)
    alone = site.etcd.leader()
    site.point(store, site.etcd.members.index(alone))
    for member in site.etcd.members:
        if member is not alone:
            member.kill()
    await wait_for(store.synced, lambda: not store.synced[CLUSTER], within=site.ttl + 2.0)
    with pytest.raises(StoreUnavailableError):
        await store.put(record.fenced(), leadership)
    assert store.records[KEY].epoch == 1


HELPER = """
import sys, time, trio
import structlog
from shardproxy.config.store import EtcdStore as Settings
from shardproxy.store.etcd import EtcdStore
from shardproxy.store.etcd.messages import to_put
from shardproxy.store.interface import StoreError
from shardproxy.store.member import Member

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

async def main():
    store = EtcdStore(Settings(endpoints=sys.argv[2].split(","), prefix=sys.argv[1]), member="frozen")
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        await store.follow(["sessions"])
        await store.announce(Member("frozen"))
        leadership = await store.claim("sessions")
        record = next(iter(store.records.values()))
        print("leads", flush=True)
        woken, last = False, time.monotonic()
        while not woken:
            await trio.sleep(0.01)
            woken, last = time.monotonic() - last > 2, time.monotonic()
        print("covers" if leadership.covers(0.0) else "not covered", flush=True)
        try:
            await store.put(record.fenced(), leadership)
            print("written", flush=True)
        except StoreError as error:
            print(type(error).__name__, flush=True)
        leadership = await store.claim("sessions")
        await store.put(store.records[record.key].fenced(), leadership)
        print("leads again", flush=True)
        nursery.cancel_scope.cancel()

trio.run(main)
"""


async def test_a_leader_that_was_frozen_writes_nothing_when_it_wakes(site: EtcdSite) -> None:
    store = await site.open_etcd()
    first = await store.claim(CLUSTER)
    await store.put(RECORD, first)
    await first.resign()
    command = [sys.executable, "-c", HELPER, site.prefix, ",".join(site.etcd.endpoints)]
    helper = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    assert helper.stdout is not None
    said = ""

    async def wait_said(lines: str) -> None:
        nonlocal said
        assert helper.stdout is not None
        with trio.fail_after(8):
            while said != lines:
                more = await helper.stdout.receive_some()
                assert more, f"it ended, and had said {said!r}"
                said += more.decode()
                assert lines.startswith(said)

    try:
        await wait_said("leads\n")
        helper.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        with trio.fail_after(site.ttl + 3):
            leadership = await store.claim(CLUSTER)
        assert "frozen" not in store.members
        assert time.monotonic() - began > site.ttl - 0.6
        record = store.records[KEY]  # as the one that was frozen has read it
        helper.send_signal(signal.SIGCONT)
        await wait_said("leads\nnot covered\nLeadershipLostError\n")
        assert store.records[KEY] == record
        await wait_for(store.members, lambda: "frozen" in store.members)
        await leadership.resign()
        await wait_said("leads\nnot covered\nLeadershipLostError\nleads again\n")
        await wait_for(store.records, lambda: store.records[KEY].epoch == record.epoch + 1)
    finally:
        helper.kill()
        await helper.stdout.aclose()
        await helper.wait()


async def test_an_idle_proxy_asks_little(site: EtcdSite) -> None:
    leader, other = await site.open_etcd("one"), await site.open_etcd("two")
    await leader.claim(CLUSTER)
    await trio.sleep(0.5)
    before = [store.statistics.requests for store in (leader, other)]
    await trio.sleep(3.0)
    leads, waits = (
        (store.statistics.requests - asked) / 3.0
        for store, asked in zip((leader, other), before, strict=True)
    )
    beats, asks = 6 / site.ttl, 1 / 1.3
    assert beats - 1 <= waits <= beats + asks + 0.5
    assert leads <= beats + asks + 1.5


async def test_followers_without_a_leader_ask_less_and_less(site: EtcdSite) -> None:
    store = site.make("reader", is_follower=True)
    await site.open_etcd("one")  # it makes the group
    await site.have_run(store, (CLUSTER,))
    await trio.sleep(0.5)
    before = store.statistics.requests
    await wait_for(store.synced, lambda: not store.synced[CLUSTER], within=8)
    await trio.sleep(2.0)
    assert store.statistics.requests - before <= 3


async def why_not_led(store: EtcdStore) -> str:
    """Why a claim is refused, as it has to be."""
    with pytest.raises(StoreUnavailableError) as refused:
        await store.claim(CLUSTER)
    return str(refused.value)


async def test_emptied_members_change_nothing(site: EtcdSite) -> None:
    one, two = await site.open_etcd("one", keeps=True), await site.open_etcd("two")
    await one.announce(Member("one"))
    leadership = await one.claim(CLUSTER)
    record = await one.put(RECORD, leadership)
    record = await one.put(record.fenced(), leadership)
    await wait_for(two.records, lambda: two.records.get(KEY) == record)
    await trio.sleep(1.5)  # what is kept is written once a second
    site.etcd.wipe()
    with pytest.raises(StoreUnavailableError):
        await one.note(PAUSED, True)  # before, or after, anybody has noticed
    for store in (one, two):
        await wait_for(store.synced, lambda store=store: not store.synced[CLUSTER], within=10)  # type: ignore[misc]
        assert store.records[KEY] == record
        assert store.leaders[CLUSTER] == "one"
        assert "stop all proxies of this store" in await why_lost(store)
        with trio.fail_after(10):  # a busy member may lag behind the others at first
            while "restore what it held last" not in await why_not_led(store):  # noqa: ASYNC110  # no event
                await trio.sleep(0.05)
        with pytest.raises(StoreUnavailableError):
            await store.note(PAUSED, True)
    with pytest.raises((StoreUnavailableError, LeadershipLostError)):
        await one.put(record.fenced(), leadership)
    assert site.etcd.ctl("get", "--prefix", site.prefix, "--keys-only").split() == []
    # who starts now knows what was kept, and does not take the empty data for a new store
    await site.kill(one)
    with trio.fail_after(10):
        one = await site.open_etcd("three", keeps=True)
    assert one.records[KEY] == record
    assert one.synced[CLUSTER] is False
    assert one.statistics.why_lost
    await site.kill(one)
    await site.kill(two)
    # as the alarm says
    (site.directory / "state.json.kept").unlink()
    new = await site.open_etcd("four", keeps=True)
    assert KEY not in new.records
    await new.put(RECORD, await new.claim(CLUSTER))
