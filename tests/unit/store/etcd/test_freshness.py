"""Not synced is said before the lease ends, by the clock that counts suspension."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from shardproxy.store.etcd.freshness import Contact, Freshness


@pytest.mark.parametrize(
    ("contact", "synced_until", "leased_until"),
    [
        (Contact(beat=100.0, ttl=3.0, heard=100.0), 101.8, 103.0),
        (Contact(beat=100.0, ttl=3.0, heard=98.0), 101.0, 103.0),  # the watch is silent
        (Contact(beat=100.0, ttl=2.0, heard=98.5), 100.5, 102.0),  # no longer than others wait
        (Contact(beat=None, ttl=0.0, heard=100.0), 103.0, 105.0),  # a follower
        (Contact(beat=100.0, ttl=10.0, heard=99.0), 105.0, 110.0),
        (Contact(beat=100.0, ttl=2.0, heard=98.9), 100.9, 102.0),  # heard of nothing for as long as it lives
    ],
)
def test_how_long_contact_lasts(contact: Contact, synced_until: float, leased_until: float) -> None:
    assert contact.synced_until == pytest.approx(synced_until)
    assert contact.leased_until == pytest.approx(leased_until)
    assert contact.synced_until < contact.leased_until


async def test_it_is_said_in_time(autojump_clock: trio.testing.MockClock) -> None:
    contact = Contact(trio.current_time(), 3.0, trio.current_time())
    freshness = Freshness(lambda: contact, clock=trio.current_time)
    freshness.follow(frozenset({"main"}))
    assert dict(freshness.synced) == {"main": True}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(freshness.run)
        began = contact.heard
        await trio.sleep(1.5)
        contact = Contact(trio.current_time(), 3.0, trio.current_time())
        freshness.look()
        await trio.sleep(1.7)
        assert dict(freshness.synced) == {"main": True}
        await freshness.synced.wait_changed(freshness.synced.version)
        assert dict(freshness.synced) == {"main": False}
        assert trio.current_time() - began == pytest.approx(1.5 + 1.8)
        assert freshness.leases["main"] == pytest.approx(contact.leased_until)
        contact = Contact(trio.current_time(), 3.0, trio.current_time())
        freshness.look()
        assert dict(freshness.synced) == {"main": True}
        freshness.follow(frozenset())
        assert not freshness.synced
        assert not freshness.leases
        nursery.cancel_scope.cancel()


async def test_a_machine_that_was_suspended_notices_soon(autojump_clock: trio.testing.MockClock) -> None:
    slept = 0.0
    contact = Contact(0.0, 3.0, 0.0)
    freshness = Freshness(lambda: contact, clock=lambda: slept)
    freshness.follow(frozenset({"main"}))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(freshness.run)
        await trio.sleep(0.1)
        slept = 3600.0
        with trio.fail_after(0.3):
            while freshness.synced["main"]:
                await freshness.synced.wait_changed(freshness.synced.version)
        nursery.cancel_scope.cancel()
