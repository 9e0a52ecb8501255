"""What this process says is there once etcd has it on the lease of now; before that nobody waits for us."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from shardproxy.config.store import EtcdStore as Settings
from shardproxy.store.etcd import EtcdStore
from shardproxy.store.etcd.announced import RETRY, Announced
from shardproxy.store.etcd.clock import boottime
from shardproxy.store.etcd.messages import Entry
from shardproxy.store.interface import StoreUnavailableError


class Etcd:
    """Takes transactions, but for a while."""

    def __init__(self) -> None:
        self.revision = 0
        self.is_denied = False

    async def make(self, guards: Any, operations: Any) -> Any:
        await trio.lowlevel.checkpoint()
        if self.is_denied:
            raise StoreUnavailableError("permission denied")
        self.revision += 1
        return SimpleNamespace(revision=self.revision)


async def test_a_key_is_there_once_it_is_told_on_the_lease_of_now(
    autojump_clock: trio.testing.MockClock,
) -> None:
    etcd, session, told = Etcd(), SimpleNamespace(id="7"), []
    announced = Announced(etcd, session, on_told=lambda: told.append(True))  # type: ignore[arg-type]
    assert announced.is_there("member"), "nothing is to be"
    etcd.is_denied = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(announced.run)
        announced.say("member", b"me")
        with pytest.raises(StoreUnavailableError, match="permission denied"):
            await announced.wait_told("member", within=3 * RETRY)
        assert not announced.is_there("member")
        etcd.is_denied = False
        await announced.wait_told("member", within=1.0)
        assert (announced.is_there("member"), told) == (True, [True])
        session.id = "8"
        announced.is_new_lease()
        assert not announced.is_there("member")
        announced.is_seen(Entry("member", b"me", 1, lease="7"))  # late news of the one before
        assert not announced.is_there("member")
        await announced.wait_told("member", within=1.0)
        assert announced.is_there("member")
        nursery.cancel_scope.cancel()


async def test_a_beat_counts_once_the_member_is_there(autojump_clock: trio.testing.MockClock) -> None:
    store = EtcdStore(Settings(endpoints=("http://127.0.0.1:1",)), member="me")
    store._session.id, store._session.sent = "7", 100.0
    assert store._contact().beat == 100.0, "it has not said yet that it serves anything"
    store._announced.say(store._keys.member("me"), b"{}")
    assert store._contact().beat == 0.0
    store._announced.is_seen(Entry(store._keys.member("me"), b"{}", 5, lease="7"))
    assert store._contact().beat == 100.0
    store._session.id = "8"
    assert store._contact().beat == 0.0


async def test_after_a_lapse_etcd_has_to_be_heard_before_a_beat_counts() -> None:
    store = EtcdStore(Settings(endpoints=("http://127.0.0.1:1",)), member="me")
    store._session.id, store._session.sent, store._reader.heard = "7", 100.0, boottime()
    store._new_lease()
    assert store._contact().beat == 100.0, "nothing was missed before the first"
    store._session.id, store._session.sent = "8", 105.0
    store._new_lease()
    assert store._contact().beat == 0.0
    store._reader.heard = boottime()
    assert store._contact().beat == 105.0
