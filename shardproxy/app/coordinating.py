"""What this process shares with others through the store: it is one of its members while it serves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import structlog
import trio

from shardproxy.admin.status import Sharing
from shardproxy.commands.known_scripts import KnownScripts
from shardproxy.config import Config
from shardproxy.config.store import Membership
from shardproxy.coordination.acks import run_acks
from shardproxy.coordination.announcer import Announcer
from shardproxy.failover.controls import Controls
from shardproxy.failover.event_log import EventLog
from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import Store, StoreUnavailableError
from shardproxy.store.member import Member
from shardproxy.topology.fleet import Peers, peers_of
from shardproxy.topology.supervisor import run_always, run_always_from

ENDED_WITHIN = 3.0  # seconds
SAID_WITHIN = 1.0  # seconds; a store that is slower hears of it when a lease ends

log = structlog.get_logger()


class Coordination:
    """The services beside failover that stand on the store."""

    def __init__(self, config: Config, store: Store, describe: Callable[[], Member]) -> None:
        self.store = store
        self.is_member = config.store is None or config.store.membership is Membership.MEMBER
        self.events = EventLog(store, store.member)
        self.controls = Controls(store)
        self.scripts = KnownScripts(store)
        self.announcer = Announcer(store, describe)
        self.sharing = Sharing(_kind(config), store.member, store.members, store.leaders, store.synced)

    def peers(self, cluster: str) -> Peers:
        """The proxies that serve a cluster, this one among them; nobody where it only follows."""
        if not self.is_member:
            return ()
        return peers_of(self.store.members, self.store.member, cluster)

    async def start(self, clusters: Iterable[str], nursery: trio.Nursery) -> None:
        """Read what is stored, and be a member, before anything is served."""
        await nursery.start(run_always_from, "store", self.store.run)
        await self.store.follow(clusters)
        await self.announce("start")

    def run(self, applied: Board[ShardKey, int], nursery: trio.Nursery) -> None:
        """Have the store told what this process serves, and what happens."""
        if self.is_member:
            nursery.start_soon(run_always, "announcements", self.announcer.run)
            nursery.start_soon(run_always, "acks", partial(run_acks, applied, self.store))
            nursery.start_soon(run_always, "requests", self.controls.run)
            nursery.start_soon(run_always, "scripts", self.scripts.run)
            nursery.start_soon(run_always, "events", self.events.run)

    async def announce(self, why: str) -> None:
        """Say at once what this process is, or is about to be."""
        if self.is_member:
            await self._say(why, self.announcer.announce)

    async def drain(self, failover_ended: trio.Event) -> None:
        """Have no client sent here any more, once nothing is decided here."""
        with trio.move_on_after(ENDED_WITHIN):
            await failover_ended.wait()
        await self.announce("draining")

    async def leave(self) -> None:
        """Nobody is served any more."""
        if self.is_member:
            await self._say("leaving", self.store.leave)

    async def _say(self, what: str, say: Callable[[], Awaitable[None]]) -> None:
        try:
            with trio.move_on_after(SAID_WITHIN) as patience:
                await say()
            why = f"no answer within {SAID_WITHIN:g} s" if patience.cancelled_caught else None
        except StoreUnavailableError as error:
            why = str(error)
        if why is not None:
            log.warning("other proxies do not hear of it", what=what, why=why)


def _kind(config: Config) -> str:
    if config.store is None:
        return "local"
    return "etcd" if config.store.etcd is not None else "kubernetes"
