"""Scripts that clients have loaded, so that a node that lacks one can be given it: notes, for all proxies.

    keep ─> here (bounded) ─> run ─> notes ─> get, here and at every other proxy, also after restarts

A note that is refused, as there are too many of the cluster's, leaves the script known to this process alone.
"""

from __future__ import annotations

from collections import deque

import structlog
import trio

from shardproxy.commands.sources import Sources
from shardproxy.model.board import News
from shardproxy.store.interface import ConflictError, Notebook, StoreUnavailableError
from shardproxy.store.memory import MemoryNotes
from shardproxy.store.notes import Note, NoteKey, NoteKind, notes_of

MAX_WAITING = 10_000  # scripts that are to be noted
AT_ONCE = 16  # notes
RETRY = 1.0  # seconds until a store that could not be reached is tried again
FORGET_WITHIN = 2.0  # seconds

log = structlog.get_logger()


class KnownScripts:
    """By cluster and SHA1, in lower case."""

    def __init__(self, notebook: Notebook | None = None) -> None:
        self._notebook = notebook or MemoryNotes()
        self._here = Sources()  # what is not noted
        self._waiting: deque[NoteKey] = deque(maxlen=MAX_WAITING)
        self._news = News()
        self._full: set[str] = set()  # clusters, as was said

    def keep(self, cluster: str, digest: str, body: bytes) -> None:
        """Remember a script that the cluster's nodes have accepted."""
        key = NoteKey(cluster, NoteKind.SCRIPT, digest)
        if key not in self._notebook.notes and self._here.get(cluster, digest) is None:
            self._here.keep(cluster, digest, body)
            self._waiting.append(key)
            self._news.ring()

    def get(self, cluster: str, digest: str) -> bytes | None:
        note = self._notebook.notes.get(NoteKey(cluster, NoteKind.SCRIPT, digest))
        return body_of(note) if note is not None else self._here.get(cluster, digest)

    async def forget_all(self, cluster: str) -> None:
        """As SCRIPT FLUSH does."""
        self._here.forget_all(cluster)
        limiter = trio.CapacityLimiter(AT_ONCE)
        with trio.move_on_after(FORGET_WITHIN) as patience:
            async with trio.open_nursery() as nursery:
                for key in notes_of(self._notebook.notes, cluster, NoteKind.SCRIPT):
                    nursery.start_soon(self._forget, key, limiter)
        if patience.cancelled_caught:
            log.warning("scripts stay known after SCRIPT FLUSH", cluster=cluster, why="the store is slow")
        self._full.discard(cluster)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Note what is kept, until cancelled."""
        limiter, is_down = trio.CapacityLimiter(AT_ONCE), False
        task_status.started()
        while True:
            keys = list(dict.fromkeys(self._waiting))
            failed: list[tuple[NoteKey, str]] = []
            self._waiting.clear()
            async with trio.open_nursery() as nursery:
                for key in keys:
                    nursery.start_soon(self._note, key, limiter, failed)
            self._waiting.extendleft(reversed([key for key, _ in failed]))
            if failed and not is_down:
                log.warning("scripts wait for the store", why=failed[0][1])
            is_down = bool(failed)
            if is_down:
                await trio.sleep(RETRY)
            elif not self._waiting:
                await self._news.wait()

    async def _note(
        self, key: NoteKey, limiter: trio.CapacityLimiter, failed: list[tuple[NoteKey, str]]
    ) -> None:
        body = self._here.get(key.cluster, key.name)
        if body is None:
            return  # forgotten since
        async with limiter:
            try:
                await self._notebook.note(key, body.decode("latin-1"))
            except StoreUnavailableError as error:
                failed.append((key, str(error)))
            except (ConflictError, ValueError) as error:
                if key.cluster not in self._full:
                    log.warning("scripts are known to this proxy alone", cluster=key.cluster, why=str(error))
                self._full.add(key.cluster)
            else:
                self._here.forget(key.cluster, key.name)

    async def _forget(self, key: NoteKey, limiter: trio.CapacityLimiter) -> None:
        async with limiter:
            try:
                await self._notebook.drop(key)
            except (ConflictError, StoreUnavailableError) as error:
                log.warning("a script stays known after SCRIPT FLUSH", cluster=key.cluster, why=str(error))


def body_of(note: Note) -> bytes | None:
    """A note's script: a byte is the character of that number."""
    try:
        return str(note.value).encode("latin-1")
    except UnicodeEncodeError:
        return None
