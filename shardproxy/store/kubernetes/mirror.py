"""The latest seen of every object, whichever way it was seen: listed, watched, or as the answer to a write.

resourceVersion grows with every change of any ConfigMap, so of two views of an object the higher is later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import trio

from shardproxy.store.kubernetes.objects import Stored

Listener = Callable[[str, Stored | None, Stored | None], None]


class Mirror:
    """Objects by name. The listener is told of each change: what is now and was before, None = nothing."""

    def __init__(self, listener: Listener) -> None:
        self._objects: dict[str, Stored] = {}
        self._gone: dict[str, int] = {}  # at which version an object went
        self._lost: dict[str, Stored] = {}  # what somebody else has deleted, as it was
        self._complete = 0
        self.version = 0  # the highest seen of any object
        self._listener = listener
        self._changed = trio.Event()

    def __iter__(self) -> Iterator[Stored]:
        return iter(tuple(self._objects.values()))

    def get(self, name: str) -> Stored | None:
        return self._objects.get(name)

    def lost(self, name: str) -> Stored | None:
        """An object that is lasting and was seen to go, as it was: whoever writes it next puts it back."""
        return self._lost.get(name)

    @property
    def changed(self) -> trio.Event:
        """Set by the next change; get it before you look."""
        return self._changed

    def complete_to(self, version: int) -> None:
        """All that was written up to there has been seen: it comes in the order of versions."""
        self._complete = max(self._complete, version)
        self._ring()

    async def wait_complete(self, version: int) -> None:
        """Wait until all that was written up to there has been seen."""
        while self._complete < version:
            await self._changed.wait()

    def take(self, seen: Stored) -> None:
        """An object as it was seen, unless something later is known of it."""
        known = self._objects.get(seen.name)
        gone = self._gone.get(seen.name, 0)
        self.version = max(self.version, seen.version)
        if seen.version <= max(gone, known.version if known is not None else 0):
            return
        self._gone.pop(seen.name, None)
        self._lost.pop(seen.name, None)
        self._objects[seen.name] = seen
        self._tell(seen.name, seen, known)

    def drop(self, name: str, version: int) -> None:
        """An object was deleted at that version."""
        known = self._objects.get(name)
        if known is not None and known.version <= version:
            del self._objects[name]
            self._gone[name] = version
            if known.kind.is_lasting:
                self._lost[name] = known
            while len(self._gone) > 1000:  # who was seen to go that long ago is not shown by any old view
                del self._gone[next(iter(self._gone))]
            self._tell(name, None, known)

    def take_all(self, listed: Iterable[Stored], version: int) -> None:
        """All that there is as of a version: what is not among it is gone."""
        names = set()
        for seen in listed:
            names.add(seen.name)
            self.take(seen)
        for name in [name for name in self._objects if name not in names]:
            self.drop(name, version)
        self.complete_to(version)

    def _tell(self, name: str, seen: Stored | None, before: Stored | None) -> None:
        self._listener(name, seen, before)
        self._ring()

    def _ring(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
