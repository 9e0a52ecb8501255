"""Keeps the numbers of a Redis Cluster's shards beyond this process, alike for all that share the store."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import trio

from shardproxy.store.changing import note_change
from shardproxy.store.interface import Notebook, StoreUnavailableError
from shardproxy.store.notes import NoteKey, NoteKind
from shardproxy.topology.sources.cluster.numbers import MAX_NUMBER, Numbers

RETRY = 1.0  # seconds until a store that could not be reached is tried again


class NumbersNoted:
    """What is noted of a cluster; `note` and go on, `run` writes it down."""

    def __init__(self, notebook: Notebook, cluster: str) -> None:
        self._notebook = notebook
        self._key = NoteKey(cluster, NoteKind.NUMBERS)
        self._wanted: dict[str, int] | None = None
        self._is_wanted = trio.Event()

    @property
    def known(self) -> Numbers | None:
        """As they were noted last, by whomever; None if they never were."""
        note = self._notebook.notes.get(self._key)
        return None if note is None else Numbers(numbers_of(note.value))

    def note(self, numbers: Numbers) -> None:
        known = self.known
        if known is None or dict(known.of) != dict(numbers.of):
            self._wanted = dict(numbers.of)
            self._is_wanted.set()

    async def run(self) -> None:
        """Write down what is to be noted, until cancelled."""
        while True:
            await self._is_wanted.wait()
            self._is_wanted = trio.Event()
            wanted = self._wanted or {}
            try:
                await note_change(self._notebook, self._key, partial(_replaced, wanted))
            except StoreUnavailableError:
                await trio.sleep(RETRY)  # shards are served by these numbers meanwhile
                self._is_wanted.set()


def numbers_of(value: Any) -> Mapping[str, int]:
    """The numbers in a note; nothing where it is no such."""
    if not isinstance(value, dict):
        return {}
    return {
        str(node): number
        for node, number in value.items()
        if isinstance(number, int) and 0 <= number <= MAX_NUMBER
    }


def _replaced(wanted: Mapping[str, int], _: Any) -> Mapping[str, int]:
    return wanted
