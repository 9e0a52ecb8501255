"""All keys below the prefix, as of one revision and with what this process wrote after that. Pure.

read all ─> replace      what is not there any more is gone
watch    ─> apply        in order; whatever is late changes nothing
answers to own writes ─> apply_own   ahead of the watch, which tells of them again
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from shardproxy.store.etcd.errors import DataLostError
from shardproxy.store.etcd.messages import Entry
from shardproxy.store.etcd.position import REMEDY

GONE = Entry("", None, 0)


class View:
    """The latest of every key. Returns what has changed: entries, without value where a key is gone."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._gone: dict[str, Entry] = {}  # keys deleted ahead of the watch
        self.seen = 0  # the watch has told of everything up to this revision

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(tuple(self._entries.values()))

    def get(self, key: str) -> Entry | None:
        return self._entries.get(key)

    @property
    def is_ahead(self) -> bool:
        """Whether something of our own is here that the watch has not told of."""
        return bool(self._gone) or any(entry.revision > self.seen for entry in self._entries.values())

    def apply(self, events: Iterable[Entry]) -> list[Entry]:
        changed = []
        for event in events:
            if event.revision > self._revision(event.key):
                changed.append(self._set(event))
            self.seen = max(self.seen, event.revision)
        self._forget_gone()
        return changed

    def apply_own(self, entry: Entry) -> list[Entry]:
        if entry.revision <= max(self.seen, self._revision(entry.key)):
            return []
        if entry.value is None:
            self._gone[entry.key] = entry
        return [self._set(entry)]

    def advance(self, revision: int) -> None:
        """Nothing has happened up to that revision."""
        self.seen = max(self.seen, revision)
        self._forget_gone()

    def replace(self, entries: Mapping[str, Entry], revision: int) -> list[Entry]:
        """All keys as of a revision that a quorum stands behind; raise DataLostError where one went back."""
        self.compare(entries, revision)
        gone = [key for key, old in self._entries.items() if key not in entries and old.revision <= revision]
        changed = [self._set(Entry(key, None, revision)) for key in gone]
        changed += [
            self._set(entry) for entry in entries.values() if entry.revision > self._revision(entry.key)
        ]
        self.seen = max(self.seen, revision)
        self._forget_gone()
        return changed

    def compare(self, entries: Mapping[str, Entry], revision: int) -> None:
        """Raise DataLostError where a key is older in what a quorum stands behind; values do not matter."""
        for key, old in self._entries.items():
            if (new := entries.get(key)) and new.revision < old.revision <= revision:
                raise DataLostError(f"{key}, of revision {old.revision}, is older now: {REMEDY}")

    def is_as(self, entries: Mapping[str, Entry]) -> bool:
        """Whether these are all the keys there are, each as it is here; values do not matter."""
        return entries.keys() == self._entries.keys() and all(
            entry.revision == self._entries[key].revision for key, entry in entries.items()
        )

    def _revision(self, key: str) -> int:
        entry = self._entries.get(key) or self._gone.get(key)
        return entry.revision if entry is not None else 0

    def _set(self, entry: Entry) -> Entry:
        if entry.value is None:
            self._entries.pop(entry.key, None)
        else:
            self._entries[entry.key] = entry
            self._gone.pop(entry.key, None)
        return entry

    def _forget_gone(self) -> None:
        self._gone = {key: entry for key, entry in self._gone.items() if entry.revision > self.seen}
