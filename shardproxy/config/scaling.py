"""How many shards a cluster is to have, by how busy and how full they are."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import Field, PlainSerializer, PlainValidator, Strict, WithJsonSchema, model_validator

from shardproxy.config.base import Section, refused
from shardproxy.config.durations import PositiveDuration
from shardproxy.config.shards import MAX_SHARDS

_TEXT = re.compile(r"(\d+(?:\.\d+)?)\s*%", re.ASCII)
_HINT = "write it like 60%"


def parse_percent(value: object) -> float:
    """Return a part of 1."""
    if isinstance(value, str) and (match := _TEXT.fullmatch(value.strip())):
        part = round(float(match[1]) / 100, 9)
    else:
        raise refused("is not a percentage", _HINT)
    if not 0.01 <= part <= 1:
        raise refused("must be between 1% and 100%", _HINT)
    return part


def format_percent(part: float) -> str:
    return f"{part * 100:g}%"


Percent = Annotated[
    float,
    PlainValidator(parse_percent),
    PlainSerializer(format_percent, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?\s*%$", "examples": ["60%"]}),
]

Shards = Annotated[int, Strict(), Field(ge=1, le=MAX_SHARDS)]


class ShardLimits(Section):
    """How few and how many shards may have slots."""

    min: Shards = 1
    """Never fewer than these."""
    max: Shards
    """Never more than these."""

    @model_validator(mode="after")
    def _min_is_less(self) -> Self:
        if self.min > self.max:
            raise refused(f"min is {self.min}, and max is {self.max}", "write the smaller number under min")
        return self


class ScalingTarget(Section):
    """What the shards' average is held at; more makes shards join, much less makes some leave."""

    cpu: Percent | None = None
    """Of one core, used by a primary's main thread, which runs the commands."""
    memory: Percent | None = None
    """Of a primary's maxmemory; a node without one is not judged by its memory."""

    @model_validator(mode="after")
    def _has_any(self) -> Self:
        if self.cpu is None and self.memory is None:
            raise refused("says nothing", "write target: {cpu: 60%, memory: 70%}, or one of them")
        return self


class Cooldown(Section):
    """How long after one change the next may begin."""

    out: PositiveDuration = 600.0
    """Until more shards take slots."""
    in_: Annotated[PositiveDuration, Field(alias="in")] = 900.0
    """Until a shard is emptied."""


class Scaling(Section):
    """How many shards have slots, decided by whoever leads the cluster."""

    shards: ShardLimits
    """How few and how many."""
    target: ScalingTarget
    """What the shards' average is held at."""
    cooldown: Cooldown = Cooldown.as_default()
    """Time between two changes."""
    acts: Annotated[bool, Strict()] = True
    """Whether shards that are ready (`slots: none`) are given slots, and shards are emptied, by itself. Off:
    an event says what to do, and nothing is done."""
