"""What a line of a table of metrics is, whatever it measures. Knows nothing of HTTP, nor of how scrapes look.

a view (what a scrape sees) ─> read ─> samples: labels, and what they measure
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

Labels: TypeAlias = tuple[str, ...]
Sample: TypeAlias = tuple[Labels, float]
Bounds: TypeAlias = Sequence[tuple[float, int]]  # seconds, and how many took no longer; the last is infinite

View = TypeVar("View")
Of = TypeVar("Of")


class Kind(enum.Enum):
    COUNTER = "counter"
    GAUGE = "gauge"


COUNTER, GAUGE = Kind.COUNTER, Kind.GAUGE


@dataclass(frozen=True, slots=True)
class Metric(Generic[View]):
    """A number; `read` gives its samples."""

    name: str
    kind: Kind
    help: str
    labels: Labels
    read: Callable[[View], Iterable[Sample]]

    @property
    def series(self) -> tuple[str, ...]:
        """What a scrape shows of it, as Prometheus names that."""
        return (self.name,)


@dataclass(frozen=True, slots=True)
class Histogram(Generic[View]):
    """How long things took; `read` gives the buckets, and the sum of all in seconds."""

    name: str
    help: str
    labels: Labels
    read: Callable[[View], Iterable[tuple[Labels, Bounds, float]]]

    @property
    def series(self) -> tuple[str, ...]:
        return tuple(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))


@dataclass(frozen=True, slots=True)
class Summary(Generic[View]):
    """The same without buckets; `read` gives how many there were, and the sum of all in seconds."""

    name: str
    help: str
    labels: Labels
    read: Callable[[View], Iterable[tuple[Labels, int, float]]]

    @property
    def series(self) -> tuple[str, ...]:
        return tuple(f"{self.name}_{part}" for part in ("sum", "count"))


Line: TypeAlias = Metric[View] | Histogram[View] | Summary[View]


def each(
    labels: Labels, find: Callable[[View], Iterable[tuple[Labels, Of]]]
) -> Callable[[str, Kind, str, Callable[[Of], float]], Metric[View]]:
    """Make lines that show one value of each that `find` finds, under its labels."""

    def line(name: str, kind: Kind, text: str, value: Callable[[Of], float]) -> Metric[View]:
        def read(view: View) -> Iterator[Sample]:
            for found, of in find(view):
                yield found, value(of)

        return Metric(name, kind, text, labels, read)

    return line
