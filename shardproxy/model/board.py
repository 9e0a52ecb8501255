"""The latest of many values: one writer, any number of readers that wait for news.

show ─> ring ─┬─> who waits for it with clients behind him: at once
              └─> who says that he is patient: when the others have had their turn, once for all that came
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import TypeVar

import trio

LATER = 0.05  # seconds of patience for who has nobody waiting: what clients wait for is mostly over by then

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class News:
    """Wakes one task: something it subscribed to may have changed since it last began to look."""

    def __init__(self) -> None:
        self._rung = trio.Event()
        self._late_at = math.inf  # trio time at which what is heard late is heard, unless it is rung before
        self._waiting: trio.CancelScope | None = None

    def ring(self, patience: float = 0.0) -> None:
        """Wake it at once, or so many seconds from now: the task is not run before, whatever else comes."""
        if not patience:
            self._rung.set()
            return
        self._late_at = min(self._late_at, trio.current_time() + patience)
        if self._waiting is not None:
            self._waiting.deadline = self._late_at

    async def wait(self) -> None:
        """Wait for news; what comes from now on, while the caller looks, counts for the next time."""
        try:
            with trio.CancelScope(deadline=self._late_at) as self._waiting:
                await self._rung.wait()
        finally:
            self._waiting = None
        self._rung, self._late_at = trio.Event(), math.inf


class Board(Mapping[K, V]):
    """Key to latest value. Bounded by itself: a slow reader sees the latest, not every one.

    `topic_of` says what a subscriber names to hear of a key; each key is its own topic unless given.
    """

    def __init__(self, topic_of: Callable[[K], Hashable] | None = None) -> None:
        self._current: dict[K, V] = {}
        self._version = 0
        self._changed = trio.Event()
        self._topic_of = topic_of
        self._subscribers: dict[Hashable, list[tuple[News, float]]] = {}  # with their patience

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

    def subscribe(self, news: News, topic: Hashable = None, *, patience: float = 0.0) -> None:
        """Ring it at every change, or only at those of that topic, until it is unsubscribed.

        So many seconds later for who can wait: then others for whom clients wait are not held up by it.
        """
        self._subscribers.setdefault(topic, []).append((news, patience))

    def unsubscribe(self, news: News, topic: Hashable = None) -> None:
        subscribers = self._subscribers[topic]
        subscribers.remove(next(one for one in subscribers if one[0] is news))
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
            for news, patience in self._subscribers.get(subscribed, ()):
                news.ring(patience)
