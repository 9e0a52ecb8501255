"""Data in etcd that is lost, restored or deleted: nothing goes back, and it is said what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from shardproxy.store.etcd import EtcdStore
from shardproxy.store.interface import LeadershipLostError, StoreUnavailableError
from tests.fixtures.etcd import StartEtcd
from tests.integration.store.contract.sites import CLUSTER, EtcdSite
from tests.integration.store.etcd.test_faults import KEY, PAUSED, RECORD, wait_for


async def why_lost(store: EtcdStore) -> str:
    """What the alarm says, once there is one."""
    with trio.fail_after(10):
        while not store.statistics.why_lost:  # noqa: ASYNC110  # counters have no event
            await trio.sleep(0.05)
    return store.statistics.why_lost


async def test_restored_older_data_is_refused_until_it_has_caught_up(
    start_etcd: StartEtcd, tmp_path: Path
) -> None:
    etcd = start_etcd(count=1)
    async with trio.open_nursery() as nursery:
        site = EtcdSite(nursery, tmp_path, etcd)
        await site.start()
        store = await site.open_etcd()
        leadership = await store.claim(CLUSTER)
        record = await store.put(RECORD, leadership)
        saved = etcd.save()
        record = await store.put(record.fenced(), leadership)
        etcd.restore(saved)
        await why_lost(store)
        assert store.records[KEY] == record
        with pytest.raises((StoreUnavailableError, LeadershipLostError)):
            await store.put(record.fenced(), leadership)
        nursery.cancel_scope.cancel()


async def test_a_prefix_that_is_deleted_is_served_on(site: EtcdSite) -> None:
    store = await site.open_etcd()
    record = await store.put(RECORD, await store.claim(CLUSTER))
    site.etcd.ctl("del", "--prefix", f"{site.prefix}/")
    await why_lost(store)
    assert store.records[KEY] == record
    await wait_for(store.synced, lambda: not store.synced[CLUSTER])


async def test_a_record_that_is_deleted_is_served_and_made_again(site: EtcdSite) -> None:
    store, other = await site.open_etcd(), await site.open_etcd("two")
    leadership = await store.claim(CLUSTER)
    record = await store.put((await store.put(RECORD, leadership)).fenced(), leadership)
    site.etcd.ctl("del", f"{site.prefix}/shard/{CLUSTER}/0")
    await wait_for(store.records, lambda: store.records[KEY].revision == 0)
    assert store.records[KEY].epoch == record.epoch
    again = await store.put(store.records[KEY].fenced(), leadership)
    assert again.epoch == record.epoch + 1
    await wait_for(other.records, lambda: other.records[KEY] == again)


async def test_an_older_epoch_is_not_shown(site: EtcdSite) -> None:
    store, other = await site.open_etcd(), await site.open_etcd("two")
    leadership = await store.claim(CLUSTER)
    first = await store.put(RECORD, leadership)
    old = site.etcd.ctl("get", "--print-value-only", f"{site.prefix}/shard/{CLUSTER}/0").strip()
    record = await store.put(first.fenced(), leadership)
    await wait_for(other.records, lambda: other.records[KEY] == record)
    site.etcd.ctl("put", f"{site.prefix}/shard/{CLUSTER}/0", old)
    await store.note(PAUSED, True)
    await wait_for(other.notes, lambda: PAUSED in other.notes)
    assert other.records[KEY] == record


async def test_what_is_not_understood_changes_nothing(site: EtcdSite) -> None:
    store = await site.open_etcd()
    record = await store.put(RECORD, await store.claim(CLUSTER))
    for key, value in (
        (f"shard/{CLUSTER}/0", "{}"),
        (f"shard/{CLUSTER}/x", "1"),
        ("shard", "1"),
        (f"note/{CLUSTER}/later/x", "{}"),
        (f"note/{CLUSTER}/paused/", "[]"),
        ("member/odd", "[1]"),
        (f"ack/odd/{CLUSTER}", '{"0": null}'),
        ("novelty", "\xff"),
        ("\udcff", "no UTF-8"),
    ):
        site.etcd.ctl("put", f"{site.prefix}/{key}", value)
    done = await store.note(PAUSED, True)
    assert store.notes[PAUSED] == done
    assert store.records[KEY] == record
    assert not store.members
