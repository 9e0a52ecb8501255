"""The latest of many values: one writer, any number of readers that wait for news."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

import trio

K = TypeVar("K")
V = TypeVar("V")


class Board(Mapping[K, V]):
    """Key to latest value. Bounded by itself: a slow reader sees the latest, not every one."""

    def __init__(self) -> None:
        self._current: dict[K, V] = {}
        self._version = 0
        self._changed = trio.Event()

    def __getitem__(self, key: K) -> V:
        return self._current[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._current)

    def __len__(self) -> int:
        return len(self._current)

    @property
    def version(self) -> int:
        """Grows with every change that counts; read it before the values."""
        return self._version

    async def wait_changed(self, seen: int) -> int:
        """Wait for another version than the one seen."""
        while self._version == seen:
            await self._changed.wait()
        return self._version

    def show(self, key: K, value: V) -> None:
        """Replace a value; readers wake up when it is not equal to the one before (the writer only)."""
        is_news = key not in self._current or self._current[key] != value
        self._current[key] = value
        if is_news:
            self._notify()

    def hide(self, key: K) -> None:
        """Forget a value (the writer only)."""
        if key in self._current:
            del self._current[key]
            self._notify()

    def _notify(self) -> None:
        self._version += 1
        self._changed.set()
        self._changed = trio.Event()
