"""The stores that the contract is tested with, each with what it takes to open it, end it and put it out of reach.

Another store is another `Site` in `SITES`; the suite asks nothing else of it.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio

from shardproxy.store.etcd import EtcdStore
from shardproxy.store.interface import Store
from tests.fixtures.etcd import Etcd
from tests.fixtures.relay import Relay

CLUSTER = "sessions"


@dataclass
class Site(ABC):
    """One store's data, for one test."""

    nursery: trio.Nursery
    directory: Path
    _running: dict[str, trio.CancelScope] = field(default_factory=dict)

    is_shared = True  # by several at a time
    ttl: float = 3.0  # seconds; nothing of a member that is dead is there after that, and a little

    @abstractmethod
    def make(self, member: str, *, is_follower: bool = False, keeps: bool = False) -> Store:
        """A store as another process has it."""

    @abstractmethod
    def out_of_reach(self) -> None:
        """Nobody reaches the data; what was sent is lost or late."""

    @abstractmethod
    def in_reach(self) -> None: ...

    async def start(self) -> None:
        """What has to run beside it."""

    async def open(
        self,
        member: str = "one",
        *,
        follows: Sequence[str] = (CLUSTER,),
        is_follower: bool = False,
        keeps: bool = False,
    ) -> Store:
        store = self.make(member, is_follower=is_follower, keeps=keeps)
        scope = await self.nursery.start(self._run, store)
        self._running[store.member] = scope
        await store.follow(follows)
        return store

    def kill(self, store: Store) -> None:
        """End it as a process does that is killed: it says nothing."""
        self._running.pop(store.member).cancel()

    async def _run(self, store: Store, *, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(store.run)
                task_status.started(scope)


@dataclass
class EtcdSite(Site):
    """Three members, each behind a relay."""

    etcd: Etcd | None = None
    relays: list[Relay] = field(default_factory=list)

    async def start(self) -> None:
        assert self.etcd is not None
        self.prefix = self.etcd.settings().prefix
        for endpoint in self.etcd.endpoints:
            relay = Relay(urlsplit(endpoint).port or 0)
            await self.nursery.start(relay.run)
            self.relays.append(relay)

    def make(self, member: str, *, is_follower: bool = False, keeps: bool = False) -> Store:
        assert self.etcd is not None
        settings = self.etcd.settings(
            endpoints=[f"http://127.0.0.1:{relay.port}" for relay in self.relays],
            prefix=self.prefix,
            ttl=self.ttl,
        )
        keep = self.directory / "state.json.kept" if keeps else None
        return EtcdStore(settings, member=member, keep=keep, is_follower=is_follower)

    def out_of_reach(self) -> None:
        for relay in self.relays:
            relay.cut()

    def in_reach(self) -> None:
        for relay in self.relays:
            relay.heal()


MakeSite = Callable[[trio.Nursery, Path, pytest.FixtureRequest], Site]


def _etcd(nursery: trio.Nursery, directory: Path, request: pytest.FixtureRequest) -> Site:
    return EtcdSite(nursery, directory, etcd=request.getfixturevalue("session_etcd"))


SITES: dict[str, MakeSite] = {"etcd": _etcd}


@contextlib.asynccontextmanager
async def site_opened(name: str, directory: Path, request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    async with trio.open_nursery() as nursery:
        site = SITES[name](nursery, directory, request)
        await site.start()
        yield site
        nursery.cancel_scope.cancel()
