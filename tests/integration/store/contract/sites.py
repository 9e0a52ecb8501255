"""The stores that the contract is tested with: how each is opened, ended, and put out of reach.

Another store is another `Site` in `SITES`; the suite asks nothing else of it.
"""

from __future__ import annotations

import contextlib
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio

from shardproxy.store.etcd import EtcdStore
from shardproxy.store.interface import Store
from shardproxy.store.local import LocalStore
from tests.fixtures.etcd import Etcd
from tests.fixtures.relay import Relay

CLUSTER = "sessions"


@dataclass
class Running:
    """One that runs."""

    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ended: trio.Event = field(default_factory=trio.Event)


@dataclass
class Site(ABC):
    """One store's data, for one test."""

    nursery: trio.Nursery
    directory: Path
    _running: dict[str, Running] = field(default_factory=dict)

    is_shared = True  # by several at a time
    ttl: float = 2.0  # seconds; nothing of a member that is dead is there after that, and a little

    @abstractmethod
    def make(self, member: str, *, is_follower: bool = False, keeps: bool = False) -> Store:
        """A store as another process has it."""

    @abstractmethod
    def out_of_reach(self) -> None:
        """Nobody reaches the data; what was sent is lost or late."""

    @abstractmethod
    def in_reach(self) -> None: ...

    @abstractmethod
    async def start(self) -> None:
        """Have run what is to run beside it."""

    async def open(
        self,
        member: str = "one",
        *,
        follows: Sequence[str] = (CLUSTER,),
        is_follower: bool = False,
        keeps: bool = False,
    ) -> Store:
        store = self.make(member, is_follower=is_follower, keeps=keeps)
        await self.have_run(store, follows)
        return store

    async def have_run(self, store: Store, follows: Sequence[str]) -> None:
        self._running[store.member] = await self.nursery.start(self._run, store)
        await store.follow(follows)

    async def kill(self, store: Store) -> None:
        """End it as a process does that is killed: it says nothing."""
        running = self._running.pop(store.member)
        running.scope.cancel()
        await running.ended.wait()

    async def _run(self, store: Store, *, task_status: trio.TaskStatus[Running]) -> None:
        running = Running()
        with running.scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(store.run)
                task_status.started(running)
        running.ended.set()


class EtcdSite(Site):
    """Three members, each behind a relay."""

    def __init__(self, nursery: trio.Nursery, directory: Path, etcd: Etcd) -> None:
        super().__init__(nursery, directory)
        self.etcd = etcd
        self.prefix = etcd.settings().prefix
        self.relays: list[Relay] = []

    async def start(self) -> None:
        for endpoint in self.etcd.endpoints:
            relay = Relay(urlsplit(endpoint).port or 0)
            await self.nursery.start(relay.run)
            self.relays.append(relay)

    def make(
        self, member: str, *, is_follower: bool = False, keeps: bool = False, relayed: bool = True
    ) -> EtcdStore:
        relays = [f"http://127.0.0.1:{relay.port}" for relay in self.relays]
        settings = self.etcd.settings(
            endpoints=relays if relayed else self.etcd.endpoints, prefix=self.prefix, ttl=self.ttl
        )
        keep = self.directory / "state.json.kept" if keeps else None
        return EtcdStore(settings, member=member, keep=keep, is_follower=is_follower)

    def out_of_reach(self) -> None:
        for relay in self.relays:
            relay.cut()

    def in_reach(self) -> None:
        for relay in self.relays:
            relay.heal()

    async def open_etcd(self, member: str = "one", *, relayed: bool = True, keeps: bool = False) -> EtcdStore:
        """Open one, past the relays if they are to be cut for others alone."""
        store = self.make(member, relayed=relayed, keeps=keeps)
        await self.have_run(store, (CLUSTER,))
        return store

    def point(self, store: EtcdStore, number: int) -> None:
        """Have it ask that member first, and watch there."""
        store._client._at = number
        store._reader._watch.cancel()

    def field(self, key: str) -> str:
        """All that etcd knows of a key."""
        found = json.loads(self.etcd.ctl("get", f"{self.prefix}/{key}", "-w", "json"))
        return "\n".join(f"{name}: {value}" for name, value in found["kvs"][0].items())

    def has(self, lease: str, key: str) -> bool:
        """Whether the key hangs on that lease."""
        return bool(lease) and f"{self.prefix}/{key}" in self.etcd.ctl("lease", "timetolive", lease, "--keys")


class LocalSite(Site):
    """A state file; nobody else has it."""

    is_shared = False

    def make(self, member: str, *, is_follower: bool = False, keeps: bool = False) -> Store:
        return LocalStore(self.directory / "state.json", member)

    async def start(self) -> None:
        await trio.lowlevel.checkpoint()

    def out_of_reach(self) -> None:
        raise NotImplementedError

    def in_reach(self) -> None:
        raise NotImplementedError

    async def _run(self, store: Store, *, task_status: trio.TaskStatus[Running]) -> None:
        assert isinstance(store, LocalStore)
        with store:
            await super()._run(store, task_status=task_status)


MakeSite = Callable[[trio.Nursery, Path, pytest.FixtureRequest], Site]


def _etcd(nursery: trio.Nursery, directory: Path, request: pytest.FixtureRequest) -> Site:
    return EtcdSite(nursery, directory, request.getfixturevalue("session_etcd"))


SITES: dict[str, MakeSite] = {"etcd": _etcd, "local": lambda nursery, path, _: LocalSite(nursery, path)}


@contextlib.asynccontextmanager
async def site_opened(name: str, directory: Path, request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    async with trio.open_nursery() as nursery:
        site = SITES[name](nursery, directory, request)
        await site.start()
        yield site
        nursery.cancel_scope.cancel()
