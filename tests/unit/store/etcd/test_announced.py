"""What this process says is there once etcd has it on the lease of now; before that nobody waits for us."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from shardproxy.store.etcd.announced import RETRY, Announced
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
    assert announced.since("member") == 0, "nothing is to be"
    etcd.is_denied = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(announced.run)
        announced.say("member", b"me")
        with pytest.raises(StoreUnavailableError, match="permission denied"):
            await announced.wait_told("member", within=3 * RETRY)
        assert announced.since("member") is None
        etcd.is_denied = False
        await announced.wait_told("member", within=1.0)
        assert (announced.since("member"), told) == (etcd.revision, [True])
        session.id = "8"
        announced.is_new_lease()
        assert announced.since("member") is None
        announced.is_seen(Entry("member", b"me", 1, lease="7"))  # late news of the one before
        assert announced.since("member") is None
        await announced.wait_told("member", within=1.0)
        assert announced.since("member") == etcd.revision
        nursery.cancel_scope.cancel()
