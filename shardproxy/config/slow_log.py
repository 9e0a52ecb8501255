"""Which requests the proxy keeps as slow, with where their time went."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PlainSerializer, PlainValidator, Strict, WithJsonSchema

from shardproxy.config.base import Section
from shardproxy.config.durations import format_duration, parse_duration

OFF = "off"
DEFAULT_THRESHOLD = 0.01  # seconds
MOST = 4096  # entries; one may take some KiB


def _threshold(value: object) -> float | None:
    if value is None or value is False or value == OFF:
        return None
    return parse_duration(value)


def _text(threshold: float | None) -> str:
    return OFF if threshold is None else format_duration(threshold)


Threshold = Annotated[
    float | None,
    PlainValidator(_threshold),
    PlainSerializer(_text, when_used="json"),
    WithJsonSchema(
        {
            "anyOf": [
                {"const": OFF},
                {"type": "string", "pattern": r"^\d+(\.\d+)?\s*(ms|s|m|h|d)$"},
                {"type": "number", "minimum": 0},
            ],
            "examples": ["10ms", "0s", OFF],
        }
    ),
]


class SlowLog(Section):
    """Which requests are kept as slow, and how much of them."""

    threshold: Threshold = DEFAULT_THRESHOLD
    """A request is slow that takes so long from its arrival until its client has the reply: 0 = every one, or
    `off`."""
    entries: Annotated[int, Strict(), Field(ge=1, le=MOST)] = 128
    """How many are kept, the newest."""
    values: bool = False
    """Keep all arguments of a request, not only its keys. Passwords are never kept."""
