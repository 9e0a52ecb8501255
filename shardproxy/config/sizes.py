"""Sizes as people write them: 64mb, 512mib, 1gb; a plain number is bytes."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, PlainSerializer, PlainValidator, WithJsonSchema

from shardproxy.config.base import refused

# As in redis.conf: kb, mb and gb count in steps of 1024.
UNITS = {"b": 1, "kb": 1 << 10, "kib": 1 << 10, "mb": 1 << 20, "mib": 1 << 20, "gb": 1 << 30, "gib": 1 << 30}
MAX_SIZE = 1 << 50  # beyond a pebibyte it is a typing error

_TEXT = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]i?b|b)", re.ASCII)
_HINT = "write it like 64kb, 512mb or 1gb; a plain number is bytes"


def parse_size(value: object) -> int:
    """Return bytes."""
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str) and (match := _TEXT.fullmatch(value.strip().lower())):
        size = int(float(match[1]) * UNITS[match[2]]) if "." in match[1] else int(match[1]) * UNITS[match[2]]
    else:
        raise refused("is not a size", _HINT)
    if not 0 <= size <= MAX_SIZE:
        raise refused("cannot be negative" if size < 0 else "is larger than any machine's memory", _HINT)
    return size


def at_least(least: int) -> AfterValidator:
    """What bounds a size from below; 0, which is no limit, stays possible."""

    def check(size: int) -> int:
        if 0 < size < least:
            raise refused(f"must be at least {format_size(least)}", "0 is no limit")
        return size

    return AfterValidator(check)


def format_size(size: int) -> str:
    """Write bytes with the largest unit that needs no fraction."""
    for unit in ("gb", "mb", "kb"):
        if size and size % UNITS[unit] == 0:
            return f"{size // UNITS[unit]}{unit}"
    return f"{size}b"


Size = Annotated[
    int,
    PlainValidator(parse_size),
    PlainSerializer(format_size, when_used="json"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^\d+(\.\d+)?\s*([kKmMgG][iI]?)?[bB]$"},
                {"type": "integer", "minimum": 0},
            ],
            "examples": ["64kb", "512mb", "1gb"],
        }
    ),
]
