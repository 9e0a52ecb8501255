"""Keeps the numbers of a Redis Cluster's shards beyond this process, alike for all that share the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import trio

from shardproxy.store.changing import note_change
from shardproxy.store.interface import Notebook, StoreUnavailableError
from shardproxy.store.notes import NoteKey, NoteKind
from shardproxy.topology.sources.cluster.decide import Group
from shardproxy.topology.sources.cluster.numbers import MAX_NUMBER, Numbers

RETRY = 1.0  # seconds until a store that could not be reached is tried again


class NumbersNoted:
    """What is noted of a cluster; `note` and go on, `run` writes it down."""

    def __init__(self, notebook: Notebook, cluster: str) -> None:
        self._notebook = notebook
        self._key = NoteKey(cluster, NoteKind.NUMBERS)
        self._taken: Numbers | None = None
        self._wanted: tuple[Numbers, Sequence[Group]] | None = None
        self._is_wanted = trio.Event()

    @property
    def known(self) -> Numbers | None:
        """As they were noted last, by whomever; None if they never were."""
        note = self._notebook.notes.get(self._key)
        return None if note is None else Numbers(numbers_of(note.value))

    @property
    def has_news(self) -> bool:
        """Whether another note is there than was taken."""
        return (known := self.known) is not None and known != self._taken

    def laid_over(self, own: Numbers) -> Numbers:
        """These numbers under a note that is new; once it was taken, what is seen goes before it."""
        if not self.has_news or (known := self.known) is None:
            return own
        self._taken = known
        return own.under(known)

    def note(self, numbers: Numbers, groups: Sequence[Group]) -> None:
        """Have the numbers of these shards noted, as far as others have not numbered them."""
        if (known := self.known) is None or dict(known.of) != dict(numbers.of):
            self._wanted = numbers, groups
            self._is_wanted.set()

    async def run(self) -> None:
        """Write down what is to be noted, until cancelled."""
        while True:
            await self._is_wanted.wait()
            self._is_wanted = trio.Event()
            assert self._wanted is not None, "it was set before"
            try:
                await note_change(self._notebook, self._key, partial(_numbered, *self._wanted))
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


def _numbered(ours: Numbers, groups: Sequence[Group], noted: Any) -> Mapping[str, int]:
    """The note to leave: shards keep the numbers that somebody has noted, whoever that was."""
    return dict(ours.under(Numbers(numbers_of(noted))).given(groups)[0].of)
