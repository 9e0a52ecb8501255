"""Keeps changes of users as notes: one for each cluster, which several proxies may change."""

from __future__ import annotations

from collections.abc import Iterable

import trio

from shardproxy.model.board import News
from shardproxy.store.interface import Notebook
from shardproxy.store.notes import NoteKey, NoteKind
from shardproxy.topology.settings import SettingsError
from shardproxy.topology.user_changes import Change, Changes, changes_decode, changes_encode

NEWS_WITHIN = 1.0  # seconds; what somebody else wrote shows long before


class UserNotes:
    """Remembers which revision of each note was read last: only that one is replaced."""

    def __init__(self, notebook: Notebook) -> None:
        self._notebook = notebook
        self._seen: dict[str, int] = {}  # by cluster; 0 = there was none

    def subscribe(self, news: News) -> None:
        self._notebook.notes.subscribe(news)

    def unsubscribe(self, news: News) -> None:
        self._notebook.notes.unsubscribe(news)

    def has_news(self, clusters: Iterable[str]) -> bool:
        """Whether any of these has another note than was read last."""
        return any(self._revision(cluster) != self._seen.get(cluster, 0) for cluster in clusters)

    def read(self, cluster: str) -> dict[str, Change] | None:
        """The changes, None when they were read or kept before; raise SettingsError when they are none."""
        note = self._notebook.notes.get(_key(cluster))
        revision = note.revision if note is not None else 0
        if revision == self._seen.get(cluster, 0):
            return None
        try:
            changes = changes_decode(note.value) if note is not None else {}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            why = f"changes of users: those of cluster {cluster} on record are damaged: {error!r}"
            raise SettingsError((why,)) from error
        self._seen[cluster] = revision
        return changes

    async def keep(self, cluster: str, changes: Changes) -> None:
        """Replace what was read last; raise ConflictError, StoreUnavailableError; ValueError: too large."""
        seen = self._seen.get(cluster, 0)
        if changes:
            note = await self._notebook.note(_key(cluster), changes_encode(changes), expected=seen)
            self._seen[cluster] = note.revision
        elif seen:
            await self._notebook.drop(_key(cluster), expected=seen)
            self._seen[cluster] = 0

    def forget(self, *clusters: str) -> None:
        """They are read anew."""
        for cluster in clusters:
            self._seen.pop(cluster, None)

    async def wait_news(self, cluster: str) -> None:
        """Wait a moment for what somebody else has written."""
        with trio.move_on_after(NEWS_WITHIN):
            while not self.has_news([cluster]):
                await self._notebook.notes.wait_changed(self._notebook.notes.version)

    def _revision(self, cluster: str) -> int:
        note = self._notebook.notes.get(_key(cluster))
        return note.revision if note is not None else 0


def _key(cluster: str) -> NoteKey:
    return NoteKey(cluster, NoteKind.USERS)
