"""Patterns of keys, as key families and caching rules name them: `*`, `{name}`, `[0-9a-f]` and plain text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from shardproxy.config.base import refused

Text = Annotated[str, Field(min_length=1, max_length=250)]
PARTS = re.compile(r"(?P<any>\*)|\{(?P<name>[^{}]*)\}|\[(?P<set>[^\]]*)\]|(?P<open>[{\[])|(?P<text>[^*{\[]+)")


def pattern_names(pattern: str) -> list[str]:
    """The names in a pattern; raise what is wrong with it."""
    names, before = [], "start"
    for part in PARTS.finditer(pattern):
        kind = part.lastgroup or ""
        if kind == "open":
            raise refused(f"the {part[0]} in match is not closed", 'a literal one is written "[{]" or "[[]"')
        if kind == "name":
            if not part["name"]:
                raise refused("{} in match has no name", 'as in "bull:{queue}:*"')
            names.append(part["name"])
            kind = "any"
        if kind == "set" and (why := _why_not_a_set(part["set"])):
            raise refused(f"{part[0]} in match {why}", "as in [0-9a-f]")
        if kind == before == "any":
            raise refused(
                "two parts in match stand next to each other: nothing tells where one ends",
                "put a text between them",
            )
        before = kind
    return names


def set_ranges(text: str) -> Iterator[tuple[str, str]]:
    """First and last character of each range in a set; of one character both are the same."""
    for low, high, alone in re.findall(r"(.)-(.)|(.)", text, re.DOTALL):
        yield (low, high) if low else (alone, alone)


def _why_not_a_set(text: str) -> str | None:
    ranges = list(set_ranges(text))
    if not ranges or not text.isascii():
        return "is no set of ASCII characters"
    return "runs backwards" if any(high < low for low, high in ranges) else None
