"""What the nodes of a cluster keep on disk, and when."""

from __future__ import annotations

import math
from enum import Enum
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, Strict, model_validator

from shardproxy.config.base import Section, refused
from shardproxy.config.durations import PositiveDuration

MAX_POINTS = 10


class Aof(Enum):
    """When a node's log of writes is on its disk."""

    ALWAYS = "always"  # before a write is answered
    EVERYSEC = "everysec"
    NO = "no"  # there is none


class Never(Enum):
    NO = "no"


class SavePoint(Section):
    """When a node writes all its data to disk: `after` so long with `changes` or more."""

    after: PositiveDuration
    """Since the last time; whole seconds, as the engine counts."""
    changes: Annotated[int, Strict(), Field(ge=1, le=1_000_000_000)] = 1
    """So many writes at least."""


def _as_word(value: object) -> object:
    return "no" if value is False else value  # what older YAML makes of a bare no


class Persistence(Section):
    """Set on the nodes, and kept so; what is left out stays as the nodes have it."""

    aof: Annotated[Aof, BeforeValidator(_as_word, json_schema_input_type=Aof)] | None = None
    """`always`: a write is on the primary's disk before it is answered; `everysec`: within a second or two;
    `no`: there is no log of writes."""
    rdb: (
        Annotated[
            Never | tuple[SavePoint, ...],
            BeforeValidator(
                _as_word,
                json_schema_input_type=Never | Annotated[tuple[SavePoint, ...], Field(max_length=MAX_POINTS)],
            ),
        ]
        | None
    ) = None
    """`no`, or when all data is written to disk, as in `[{after: 15m, changes: 1}]`."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.aof is None and self.rdb is None:
            raise refused("says nothing", "write aof: everysec, or leave out persistence:")
        points = self.points
        if points is not None and len(points) > MAX_POINTS:
            raise refused(f"rdb: has more than {MAX_POINTS} entries", "one or three are usual")
        if self.rdb == ():
            raise refused("rdb: has no entries", "write rdb: no")
        return self

    @property
    def points(self) -> tuple[SavePoint, ...] | None:
        """None where nothing is said of it."""
        return () if isinstance(self.rdb, Never) else self.rdb

    @property
    def settings(self) -> dict[str, str]:
        """The same as the engine's settings, in the order in which they are set."""
        found: dict[str, str] = {}
        if self.points is not None:
            found["save"] = " ".join(f"{math.ceil(p.after)} {p.changes}" for p in self.points)
        if self.aof is not None and self.aof is not Aof.NO:
            found["appendfsync"] = self.aof.value
        if self.aof is not None:
            found["appendonly"] = "no" if self.aof is Aof.NO else "yes"
        return found
