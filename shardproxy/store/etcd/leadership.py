"""Who leads a cluster: a key of etcd on a lease. The revision at which it was made is the fencing token.

claim    make the key where there is none; where there is one wait until it is gone
put      compares the token, in the same transaction
resign   deletes the key, if it is still this one
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import structlog
import trio

from shardproxy.model.board import News
from shardproxy.store.etcd.clock import boottime
from shardproxy.store.etcd.keys import Keys
from shardproxy.store.etcd.messages import Entry, is_created, to_delete, to_put, to_read
from shardproxy.store.etcd.reader import Reader
from shardproxy.store.etcd.session import Session
from shardproxy.store.etcd.transactions import Transactions, found_of
from shardproxy.store.interface import Leadership, LeadershipLostError, StoreUnavailableError

RENEW = 1.0  # seconds; whoever only reads is out of date after three of them
JITTER = 0.1  # seconds; those who wait for the same key do not all ask at once
READY_WITHIN = 2.0  # seconds; a lease may just have ended, or a member have been left
SEEN_WITHIN = 2.0  # seconds for the watch to tell of the key that was made

log = structlog.get_logger()


GiveUp: TypeAlias = "Callable[[EtcdLeadership], Awaitable[None]]"


class EtcdLeadership:
    """Lasts as long as its key does."""

    def __init__(
        self,
        cluster: str,
        revision: int,
        session: Session,
        give_up: Callable[[EtcdLeadership], Awaitable[None]],
    ) -> None:
        assert session.id is not None
        self.cluster, self.revision = cluster, revision
        self._session, self._lease = session, session.id
        self._give_up = give_up
        self.why_lost = ""
        self.renewed = 0  # times

    def covers(self, seconds: float) -> bool:
        """Whether etcd keeps the lease so long, counted from when it was last asked to."""
        return self.is_leased and not self.why_lost and boottime() + seconds < self._session.until

    @property
    def is_leased(self) -> bool:
        return self._session.id == self._lease

    async def resign(self) -> None:
        await self._give_up(self)


class Leaders:
    """This process's leaderships; each cluster has one at most."""

    def __init__(
        self,
        keys: Keys,
        member: str,
        transactions: Transactions,
        session: Session,
        reader: Reader,
        *,
        on_lost: Callable[[str], None],
    ) -> None:
        self._keys = keys
        self._member = member.encode()
        self._transactions = transactions
        self._session = session
        self._reader = reader
        self._on_lost = on_lost
        self._held: dict[str, EtcdLeadership] = {}
        self._claiming: set[str] = set()
        self._has_left = False

    async def claim(self, cluster: str) -> EtcdLeadership:
        """Wait until this process leads; raise StoreUnavailableError."""
        if (held := self._held.get(cluster)) is not None:
            held.why_lost = "it was claimed again"
            await self._give_up(held)
        key, news = self._keys.leader(cluster), News()
        self._reader.changes.subscribe(news, key)
        self._claiming.add(cluster)
        try:
            with trio.move_on_after(READY_WITHIN):
                await self._session.wait_held()
                await self._reader.wait_readable()
            while True:
                if (why := self._why_not()) is not None:
                    raise StoreUnavailableError(why)
                there = self._reader.view.get(key) or await self._make(cluster, key)
                if isinstance(there, EtcdLeadership):
                    return there
                if there.value == self._member:  # of a claim that was given up, or of a lease before this one
                    await self._delete(key, there.created)
                    continue
                with trio.move_on_after(RENEW):
                    await news.wait()
                    await trio.sleep(random.uniform(0, JITTER))
        finally:
            self._claiming.discard(cluster)
            self._reader.changes.unsubscribe(news, key)

    def check(self, leadership: Leadership) -> EtcdLeadership:
        """Raise LeadershipLostError for one that is known to be void."""
        if not isinstance(leadership, EtcdLeadership):
            raise TypeError(f"not of this store: {leadership!r}")
        if not leadership.is_leased:
            self.lost(leadership, "its lease has ended")
        if leadership.why_lost:
            raise LeadershipLostError(
                f"{leadership.cluster}: this process leads no more: {leadership.why_lost}"
            )
        return leadership

    def lost(self, leadership: EtcdLeadership, why: str) -> None:
        """It is void from now on."""
        leadership.why_lost = leadership.why_lost or why
        if self._held.get(leadership.cluster) is leadership:
            del self._held[leadership.cluster]
            self._on_lost(leadership.cluster)

    def is_seen(self, cluster: str, entry: Entry) -> None:
        """The watch has told who leads."""
        held = self._held.get(cluster)
        if held is not None and entry.revision > held.revision and entry.created != held.revision:
            who = entry.value.decode(errors="replace") if entry.value is not None else "nobody"
            self.lost(held, f"{who} leads")

    def is_new_lease(self) -> None:
        """What hung on the lease before is gone."""
        for held in tuple(self._held.values()):
            self.lost(held, "its lease has ended")

    def leave(self) -> None:
        """Nothing is led, or claimed, any more."""
        self._has_left = True
        for held in tuple(self._held.values()):
            self.lost(held, "this process has left")

    async def run(self) -> None:
        """Tell those that only read that the leader is there, and leave no key that nobody uses."""
        while True:
            await trio.sleep(RENEW)
            for held in tuple(self._held.values()):
                await self._renew(held)
            for entry in self._reader.view:
                if entry.value == self._member:
                    await self._delete_unused(entry)

    def _why_not(self) -> str | None:
        if self._has_left:
            return "this process has left the store"
        if self._session.id is None or boottime() >= self._session.until:
            return self._session.why_late or "etcd has granted no lease yet"
        return self._reader.why_not

    async def _make(self, cluster: str, key: str) -> EtcdLeadership | Entry:
        """Lead, or find who does."""
        lease = self._session.id
        assert lease is not None
        put = to_put(key, self._member, lease)
        done = await self._transactions.make([is_created(key, 0)], [put], [to_read(key)])
        found = found_of(done, key)
        is_ours = (
            found.value == self._member and found.lease == lease
        )  # as told by an answer that was missing
        if (not done.is_done and not is_ours) or self._session.id != lease:
            return found  # or the lease has ended meanwhile, and the key with it
        revision = done.revision if done.is_done else found.created
        made = EtcdLeadership(cluster, revision, self._session, self._give_up)
        self._held[cluster] = made
        try:
            await self._reader.wait_seen(revision, within=SEEN_WITHIN)
        except BaseException:
            self.lost(made, "it was claimed in vain")
            raise
        return made

    async def _give_up(self, leadership: EtcdLeadership) -> None:
        self.lost(leadership, "this process has resigned")
        try:
            await self._delete(self._keys.leader(leadership.cluster), leadership.revision)
        except StoreUnavailableError as error:
            log.warning("etcd does not know of a resignation", cluster=leadership.cluster, why=str(error))

    async def _delete(self, key: str, created: int) -> None:
        done = await self._transactions.make([is_created(key, created)], [to_delete(key)])
        if done.is_done:
            self._reader.is_own(Entry(key, None, done.revision))

    async def _renew(self, held: EtcdLeadership) -> None:
        held.renewed += 1
        key = self._keys.leader(held.cluster)
        put = to_put(self._keys.renew(held.cluster), str(held.renewed).encode())
        try:
            done = await self._transactions.make([is_created(key, held.revision)], [put], is_counted=False)
        except StoreUnavailableError:
            return  # the session says so
        if not done.is_done:
            self.lost(held, "its key is gone")

    async def _delete_unused(self, entry: Entry) -> None:
        kind, *names = self._keys.parts(entry.key)
        is_used = names and (names[0] in self._held or names[0] in self._claiming)
        if kind == "leader" and not is_used and not self._has_left:
            try:
                await self._delete(entry.key, entry.created)
            except StoreUnavailableError:
                return  # the next round comes
