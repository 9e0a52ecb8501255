"""The latest of many values: one writer, any number of readers that wait for news."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import TypeVar

import trio

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class News:
    """Wakes one task: something it subscribed to may have changed since it last began to look."""

    def __init__(self) -> None:
        self._rung = trio.Event()

    def ring(self) -> None:
        self._rung.set()

    async def wait(self) -> None:
        """Wait for news; what comes from now on, while the caller looks, counts for the next time."""
        await self._rung.wait()
        self._rung = trio.Event()


class Board(Mapping[K, V]):
    """Key to latest value. Bounded by itself: a slow reader sees the latest, not every one.

    `topic_of` says what a subscriber names to hear of a key; each key is its own topic unless given.
    """

    def __init__(self, topic_of: Callable[[K], Hashable] | None = None) -> None:
        self._current: dict[K, V] = {}
        self._version = 0
        self._changed = trio.Event()
        self._topic_of = topic_of
        self._subscribers: dict[Hashable, list[News]] = {}

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

    def subscribe(self, news: News, topic: Hashable = None) -> None:
        """Ring it at every change, or only at those of that topic, until it is unsubscribed."""
        self._subscribers.setdefault(topic, []).append(news)

    def unsubscribe(self, news: News, topic: Hashable = None) -> None:
        subscribers = self._subscribers[topic]
        subscribers.remove(news)
        if not subscribers:
            del self._subscribers[topic]

    def show(self, key: K, value: V) -> None:
        """Replace a value; readers wake up when it is not equal to the one before (the writer only)."""
        is_news = key not in self._current or self._current[key] != value
        self._current[key] = value
        if is_news:
            self._notify(key)

    def hide(self, key: K) -> None:
        """Forget a value (the writer only)."""
        if key in self._current:
            del self._current[key]
            self._notify(key)

    def _notify(self, key: K) -> None:
        self._version += 1
        self._changed.set()
        self._changed = trio.Event()
        topic = self._topic_of(key) if self._topic_of is not None else key
        for subscribed in (None, topic):
            for news in self._subscribers.get(subscribed, ()):
                news.ring()
