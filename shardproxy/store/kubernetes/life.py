"""Keeps this member alive in the store, and takes out of it who is dead.

    beat ──> PUT of our heartbeat, each quarter of the ttl, and at once when there are acks and votes to tell
    judge ─> DELETE of a heartbeat that did not change for a ttl, as of the version seen last

Whoever finds its own heartbeat deleted was declared dead: it begins another life, and leads nothing any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import structlog
import trio

from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import StoreError, StoreUnavailableError, votes_show
from shardproxy.store.kubernetes.errors import NotFoundError, VersionConflictError
from shardproxy.store.kubernetes.expiry import Expiry
from shardproxy.store.kubernetes.names import Kind
from shardproxy.store.kubernetes.objects import Body, Stored
from shardproxy.store.kubernetes.pulse import NEVER, DeclaredDeadError, Pulse
from shardproxy.store.kubernetes.shared import Shared, pod_owner
from shardproxy.store.kubernetes.writer import collection_of
from shardproxy.store.member import Member, Vote, member_encode

log = structlog.get_logger()

LOOK = 0.2  # seconds between looks at who is dead
RETRY = 0.25  # seconds before a beat that failed is tried again
KEEP_ORPHANS = 10  # ttls that what a member announced is kept without its heartbeat


class Life:
    """This member's, and its judgement of others. `died` is called when we were declared dead."""

    def __init__(self, shared: Shared, *, died: Callable[[], None]) -> None:
        self._shared = shared
        self._died = died
        self.pulse = Pulse(shared.member, shared.times.ttl)
        self._expiry = Expiry(shared.times.ttl, shared.times.gap)
        self._heartbeat = shared.names.alive(shared.member)
        self._member: Member | None = None
        self._unsaid = trio.Event()  # an ack or a vote is not in the heartbeat yet
        self._is_leaving = False
        self._is_failing = False
        self._orphans: dict[str, float] = {}  # what is announced without a heartbeat, and since when

    @property
    def uid(self) -> str | None:
        """Of our heartbeat: this life, as others know it."""
        return self.pulse.uid

    def is_alive(self, seconds: float = 0.0) -> bool:
        """Whether nobody goes on without us for so long from now."""
        return self.pulse.uid is not None and self._shared.clock() + seconds < self.pulse.expires

    # --- what is seen ---

    def heard(self, seen: Stored | None) -> None:
        """Our watch lives, and shows that."""
        now = self._shared.clock()
        self._expiry.heard(now)
        if seen is None or seen.kind is not Kind.ALIVE:
            return
        if seen.name == self._heartbeat:
            self.pulse.echo(seen)
        else:
            self._expiry.observe(seen.uid, seen.version, now)

    def gone(self, stored: Stored) -> None:
        """A heartbeat is not there any more."""
        self._expiry.forget(stored.uid)
        if stored.name == self._heartbeat and stored.uid == self.pulse.uid and not self._is_leaving:
            self._declared_dead()

    # --- what is said ---

    async def announce(self, member: Member) -> None:
        self._member = member
        if self.pulse.uid is None:
            await self.beat()
        await self._announce(member)

    async def ack(self, key: ShardKey, changed: int | None) -> None:
        board, own = self._shared.boards.acks, (self._shared.member, key)
        if changed is None:
            board.hide(own)
        else:
            board.show(own, changed)
        if self.pulse.acks.get(key) != changed:
            if changed is None:
                del self.pulse.acks[key]
            else:
                self.pulse.acks[key] = changed
            self._unsaid.set()
        await trio.lowlevel.checkpoint()

    async def vote(self, votes: Mapping[ShardKey, Vote | None]) -> None:
        votes_show(self._shared.boards.votes, self._shared.member, votes)
        said = {**self.pulse.votes, **votes}
        wanted = {key: vote for key, vote in said.items() if vote is not None}
        if wanted != self.pulse.votes:
            self.pulse.votes = wanted
            self._unsaid.set()
        await trio.lowlevel.checkpoint()

    async def beat(self) -> None:
        """Write the heartbeat; raise StoreUnavailableError."""
        shared = self._shared
        if self._is_leaving:
            raise StoreUnavailableError("this member has left")

        def next_beat(body: Body | None) -> tuple[Body, None]:
            return self.pulse.beat(body, shared.clock())

        try:
            await shared.writer(self._heartbeat, Kind.ALIVE).change(next_beat)
        except DeclaredDeadError:
            self._declared_dead()
            raise
        if (stored := shared.mirror.get(self._heartbeat)) is not None:
            self.pulse.answered(stored)

    async def leave(self) -> None:
        """Take back what was announced, then the heartbeat; where that fails it expires by itself."""
        self._is_leaving = True
        shared = self._shared
        self._member = None
        shared.boards.hide_said()
        for name in (shared.names.member(shared.member), self._heartbeat):
            if (stored := shared.mirror.get(name)) is not None:
                try:
                    await self._delete(stored, as_of_version=False)
                except StoreUnavailableError as error:
                    log.warning("kubernetes: not taken back, it expires by itself", name=name, why=str(error))
        self.pulse.ended()

    # --- what runs ---

    async def keep(self, *, silent: Callable[[], None]) -> None:
        """Beat for ever; `silent` is called when the watch does not show our beats."""
        expected = NEVER  # when the beat was sent that the watch has to show
        while not self._is_leaving:
            self._unsaid = trio.Event()
            try:
                await self.beat()
                if self._member is not None:
                    await self._announce(self._member)
                self._back()
            except StoreError as error:
                self._lost(str(error))
                await trio.sleep(RETRY)
                continue
            if self.pulse.echoed >= expected:
                expected = self.pulse.leased
            with trio.move_on_after(self._shared.times.echo):
                await self._unsaid.wait()
            if self.pulse.echoed < expected <= self._shared.clock() - self._shared.times.echo:
                expected = self.pulse.leased
                silent()
            with trio.move_on_after(self._shared.times.beat - self._shared.times.echo):
                await self._unsaid.wait()
        await trio.sleep_forever()

    async def judge(self) -> None:
        """Take out who is dead, for ever."""
        while True:
            await trio.sleep(LOOK)
            if not self.is_alive():
                continue
            for uid, version in self._expiry.dead(self._shared.clock()):
                await self._bury(uid, version)
            await self._collect()

    async def _bury(self, uid: str, version: int) -> None:
        for stored in self._shared.mirror:
            if stored.uid == uid and stored.version == version:
                try:
                    await self._delete(stored, as_of_version=True)
                    log.info("kubernetes: a member is dead", member=_member_of(stored))
                except StoreUnavailableError as error:
                    log.debug("kubernetes: not taken out", name=stored.name, why=str(error))
                return

    async def _collect(self) -> None:
        """Delete what was announced by members that are dead since long."""
        shared, now = self._shared, self._shared.clock()
        alive = {_member_of(stored) for stored in shared.mirror if stored.kind is Kind.ALIVE}
        orphans = [
            stored
            for stored in shared.mirror
            if stored.kind is Kind.MEMBER and _member_of(stored) not in alive
        ]
        self._orphans = {stored.uid: self._orphans.get(stored.uid, now) for stored in orphans}
        for stored in orphans:
            if now - self._orphans[stored.uid] > KEEP_ORPHANS * shared.times.ttl:
                try:
                    await self._delete(stored, as_of_version=True)
                except StoreUnavailableError:
                    return

    async def _delete(self, stored: Stored, *, as_of_version: bool) -> None:
        """Raise StoreUnavailableError; no error where it is gone, or not that one any more."""
        shared = self._shared
        path = f"{collection_of(shared.api)}/{stored.name}"
        version = str(stored.version) if as_of_version else None
        try:
            await shared.api.delete(path, uid=stored.uid, version=version)
        except NotFoundError:
            pass
        except VersionConflictError:
            return  # it lives: the watch shows what it is now
        shared.mirror.drop(stored.name, stored.version)

    async def _announce(self, member: Member) -> None:
        values = member_encode(member)

        def announced(body: Body | None) -> tuple[Body, None]:
            if body is not None and body.get("member") == values:
                return body, None
            return {"member": values}, None

        name = self._shared.names.member(self._shared.member)
        known = self._shared.mirror.get(name)
        if known is not None and _said_in(known) == values:
            return
        await self._shared.writer(name, Kind.MEMBER, pod_owner()).change(announced)

    def _declared_dead(self) -> None:
        if self.pulse.uid is not None:
            log.warning(
                "kubernetes: this member was declared dead, and begins anew", member=self.pulse.member
            )
            self.pulse.ended()
            self._died()

    def _lost(self, why: str) -> None:
        if not self._is_failing:
            log.warning("kubernetes: heartbeat is not written", why=why)
        self._is_failing = True

    def _back(self) -> None:
        if self._is_failing:
            log.info("kubernetes: heartbeat is written again")
        self._is_failing = False


def _member_of(stored: Stored) -> str | None:
    """Whose heartbeat it is, or who announced it; None of what is damaged."""
    try:
        member = _said_in(stored)
        return str(member["name"] if isinstance(member, Mapping) else member)
    except KeyError:
        return None


def _said_in(stored: Stored) -> Any:
    try:
        return stored.body.get("member")
    except ValueError:
        return None
