"""Durations as people write them: 500ms, 2s, 5m; a plain number is seconds."""

from __future__ import annotations

import math
import re
from typing import Annotated

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from shardproxy.config.base import refused

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
MAX_DURATION = 366 * 86400.0  # beyond a year it is a typing error

_TEXT = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)", re.ASCII)
_HINT = "write it like 500ms, 2s, 5m or 1h; a plain number is seconds"


def parse_duration(value: object) -> float:
    """Return seconds."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str) and (match := _TEXT.fullmatch(value.strip().lower())):
        seconds = round(float(match[1]) * UNITS[match[2]], 9)
    else:
        raise refused("is not a duration", _HINT)
    if not math.isfinite(seconds) or seconds < 0:
        raise refused("cannot be less than zero or without end", _HINT)
    if seconds > MAX_DURATION:
        raise refused("is longer than a year", _HINT)
    return seconds


def parse_positive_duration(value: object) -> float:
    """Return seconds, never 0: a wait for another machine always has a deadline."""
    seconds = parse_duration(value)
    if seconds < 0.001:
        raise refused("must be at least 1ms", _HINT)
    return seconds


def format_duration(seconds: float) -> str:
    """Write seconds with the largest unit that needs no fraction."""
    milliseconds = round(seconds * 1000)
    if abs(milliseconds / 1000 - seconds) > 1e-9:
        return f"{seconds:.9f}s"
    if milliseconds == 0:
        return "0s"
    unit = next(u for u in ("d", "h", "m", "s", "ms") if milliseconds % round(UNITS[u] * 1000) == 0)
    return f"{milliseconds // round(UNITS[unit] * 1000)}{unit}"


def _schema(least: float) -> WithJsonSchema:
    text = {"type": "string", "pattern": r"^\d+(\.\d+)?\s*(ms|s|m|h|d)$"}
    number = {"type": "number", "minimum": least}
    return WithJsonSchema({"anyOf": [text, number], "examples": ["500ms", "2s", "5m"]})


_TO_TEXT = PlainSerializer(format_duration, when_used="json")

Duration = Annotated[float, PlainValidator(parse_duration), _TO_TEXT, _schema(0)]
PositiveDuration = Annotated[float, PlainValidator(parse_positive_duration), _TO_TEXT, _schema(0.001)]
