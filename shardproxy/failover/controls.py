"""What an operator asks of failover: switch over, promote by force, pause, acknowledge.

Any proxy may be asked. It writes a note, the cluster's leader acts on it, and answers there (requests.py).
"""

from __future__ import annotations

import contextlib
import uuid
from typing import Protocol

import trio

from shardproxy.failover.requests import (
    STOPPED,
    Request,
    acknowledged_count,
    acknowledged_key,
    paused_key,
    request_decode,
    request_encode,
    request_key,
)
from shardproxy.model import Address
from shardproxy.model.board import Board, News
from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import ConflictError, Notebook, StoreError, StoreUnavailableError
from shardproxy.store.member import Member
from shardproxy.store.notes import NoteKey, NoteKind

PATIENCE = 10.0  # seconds until a controller takes a request
DEADLINE = 30.0  # seconds until the asker hears how far it came
WITHDRAW_WITHIN = 2.0  # seconds
RETRY = 1.0  # seconds until what could not be withdrawn is tried again

UNDER_WAY = "another change of its primary is under way"


class Desk(Notebook, Protocol):
    """What operators' wishes need of a store."""

    @property
    def member(self) -> str: ...

    @property
    def members(self) -> Board[str, Member]: ...

    @property
    def leaders(self) -> Board[str, str]: ...


def why_not_here(desk: Desk) -> str | None:
    """Why this process can ask nobody for anything."""
    if desk.member in desk.members:
        return None
    others = sorted(one.admin or name for name, one in desk.members.items() if not one.is_draining)
    return f"this proxy is no member of its store, now: ask one that is: {', '.join(others) or 'none is'}"


class Controls:
    """One process's operator desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._waited: set[str] = set()  # ids of requests that somebody waits for
        self._left = News()  # one that nobody waits for any more may have been left

    async def switch_over(
        self, key: ShardKey, to: Address | None = None, *, is_test: bool = False
    ) -> str | None:
        """Hand a shard over to a replica, losing nothing; return why it was not done, or None."""
        return await self._ask(key, Request(uuid.uuid4().hex, self._desk.member, to, is_test=is_test))

    async def promote(self, key: ShardKey, to: Address) -> str | None:
        """Make a node the primary although its data may be old; return why it was not done, or None."""
        return await self._ask(key, Request(uuid.uuid4().hex, self._desk.member, to, is_forced=True))

    async def pause(self, cluster: str) -> None:
        """No automatic failover in a cluster until it is resumed; raise StoreUnavailableError."""
        await self._desk.note(paused_key(cluster), True)

    async def resume(self, cluster: str) -> None:
        """Raise StoreUnavailableError."""
        await self._desk.drop(paused_key(cluster))

    async def acknowledge(self, key: ShardKey) -> None:
        """The cause of a shard's last failover was looked into: the next one need not wait.

        Raise StoreUnavailableError.
        """
        await self._desk.note(acknowledged_key(key), acknowledged_count(self._desk.notes, key) + 1)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Withdraw what nobody waits for any more, and could not be withdrawn at once; until cancelled."""
        self._desk.notes.subscribe(self._left)
        try:
            task_status.started()
            while True:
                with trio.move_on_after(RETRY if not await self._withdraw_all() else float("inf")):
                    await self._left.wait()
        finally:
            self._desk.notes.unsubscribe(self._left)

    # --- requests ---

    async def _ask(self, key: ShardKey, request: Request) -> str | None:
        name, desk = request_key(key), self._desk
        if (why := why_not_here(self._desk)) is not None:
            return why
        before = desk.notes.get(name)
        if before is not None and self._is_under_way(request_decode(before.value)):
            return UNDER_WAY
        news = News()
        desk.notes.subscribe(news, name.topic)
        self._waited.add(request.id)
        try:
            try:
                await desk.note(name, request_encode(request), expected=before.revision if before else 0)
            except ConflictError:
                if self._own(name, request.id) is None:
                    return UNDER_WAY
                # it was written, and the answer lost: the leader has taken it since
            return await self._wait_done(key, request.id, news)
        except StoreUnavailableError as error:
            return f"nothing was done, the store is not available: {error}"
        finally:
            self._waited.discard(request.id)
            desk.notes.unsubscribe(news, name.topic)
            with trio.move_on_after(WITHDRAW_WITHIN, shield=True), contextlib.suppress(StoreError):
                await self._withdraw(name, request.id)
            self._left.ring()

    async def _wait_done(self, key: ShardKey, identity: str, news: News) -> str | None:
        name = request_key(key)
        with trio.move_on_after(PATIENCE):
            return await self._wait_answer(name, identity, news)
        try:
            if await self._withdraw(name, identity):
                return self._nobody_text(key.cluster)
        except StoreUnavailableError as error:
            return f"nobody has taken it, and it may still be done: it cannot be withdrawn now: {error}"
        with trio.move_on_after(DEADLINE - PATIENCE):
            return await self._wait_answer(name, identity, news)
        return f"it is still under way after {DEADLINE:.0f} s: see shardproxy status and shardproxy events"

    async def _wait_answer(self, name: NoteKey, identity: str, news: News) -> str | None:
        while True:
            request = self._own(name, identity)
            if request is None:
                return STOPPED
            if request.answer is not None:
                return request.answer or None
            await news.wait()

    def _own(self, name: NoteKey, identity: str) -> Request | None:
        note = self._desk.notes.get(name)
        request = request_decode(note.value) if note is not None else None
        return request if request is not None and request.id == identity else None

    async def _withdraw(self, name: NoteKey, identity: str) -> bool:
        """Take a request, or its answer, back; False when it is being done. Raise StoreUnavailableError."""
        while (own := self._own(name, identity)) is not None:
            if own.taken is not None and not own.is_over:
                return False
            note, seen = self._desk.notes[name], self._desk.notes.version
            try:
                await self._desk.drop(name, expected=note.revision)
            except ConflictError:
                if self._desk.notes.get(name) == note:  # what is newer shows in a moment
                    await self._desk.notes.wait_changed(seen)
                continue
            return True
        return True

    async def _withdraw_all(self) -> bool:
        """Whether none is left that is ours and nobody's wish any more."""
        for name, note in list(self._desk.notes.items()):
            if name.kind is not NoteKind.REQUEST:
                continue
            request = request_decode(note.value)
            if request is None or request.by != self._desk.member or request.id in self._waited:
                continue
            try:
                with trio.fail_after(WITHDRAW_WITHIN):
                    await self._withdraw(name, request.id)
            except (StoreUnavailableError, trio.TooSlowError):
                return False
        return True

    def _is_under_way(self, request: Request | None) -> bool:
        """Whether somebody waits for it, or does it."""
        if request is None or request.is_over:
            return False
        return request.taken is not None or request.by in self._desk.members

    def _nobody_text(self, cluster: str) -> str:
        leader = self._desk.leaders.get(cluster)
        who = f"{leader} leads the cluster" if leader is not None else "nobody leads the cluster"
        return (
            f"no controller took it within {PATIENCE:.0f} s, so nothing was done: {who}; can it write to its"
            " store?"
        )
