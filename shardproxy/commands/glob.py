"""Glob patterns as Redis matches them. Pure."""

from __future__ import annotations

import re
from functools import lru_cache


def matches(pattern: bytes, word: bytes) -> bool:
    """Whether the pattern matches the whole word, as channels and keys are matched: case counts."""
    return glob_pattern(pattern, ignores_case=False).fullmatch(word) is not None


@lru_cache(maxsize=256)
def glob_pattern(pattern: bytes, *, ignores_case: bool) -> re.Pattern[bytes]:
    """The pattern (`*`, `?`, `[a-c]`, `[^a]`, `\\x`) as a regular expression for fullmatch."""
    out: list[bytes] = []
    i = 0
    while i < len(pattern):
        c = pattern[i : i + 1]
        i += 1
        if c == b"*":
            if not out or out[-1] != b".*":
                out.append(b".*")
        elif c == b"?":
            out.append(b".")
        elif c == b"[":
            piece, i = _class(pattern, i)
            out.append(piece)
        else:
            if c == b"\\" and i < len(pattern):
                c = pattern[i : i + 1]
                i += 1
            out.append(re.escape(c))
    return re.compile(b"".join(out), re.DOTALL | (re.IGNORECASE if ignores_case else 0))


def _class(pattern: bytes, i: int) -> tuple[bytes, int]:
    """The character class that begins at `i`, and where it ends; one without `]` ends with the pattern."""
    is_not = pattern[i : i + 1] == b"^"
    i += is_not
    items: list[bytes] = []
    while i < len(pattern) and pattern[i : i + 1] != b"]":
        if pattern[i : i + 1] == b"\\" and i + 1 < len(pattern):
            i += 1
            items.append(re.escape(pattern[i : i + 1]))
        elif pattern[i + 1 : i + 2] == b"-" and i + 2 < len(pattern):
            low, high = sorted((pattern[i : i + 1], pattern[i + 2 : i + 3]))
            items.append(re.escape(low) + b"-" + re.escape(high))
            i += 2
        else:
            items.append(re.escape(pattern[i : i + 1]))
        i += 1
    if not items:
        return (b"." if is_not else b"(?!)"), i + 1
    return b"[" + (b"^" if is_not else b"") + b"".join(items) + b"]", i + 1
