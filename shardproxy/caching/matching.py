"""Which keys a pattern names, and what its parts are: as the data plane matches key families.

Each part takes as little as it can, and the last one what is left; time is linear in the key.
"""

from __future__ import annotations

import re
from itertools import groupby

from shardproxy.config.patterns import PARTS, set_ranges


def pattern_regex(pattern: str) -> re.Pattern[bytes]:
    """An expression whose groups are the named parts; `fullmatch` a key with it."""
    steps = [_step(part) for part in PARTS.finditer(pattern)]
    pieces: list[tuple[bool, bytes]] = [
        (is_any, b"".join(text for _, text in group)) for is_any, group in groupby(steps, key=lambda s: s[0])
    ]
    written, last = [], max((i for i, (is_any, _) in enumerate(pieces) if is_any), default=-1)
    for i, (is_any, text) in enumerate(pieces):
        if not is_any:
            closes = b")" if 0 < i < last else b""
            written.append(text + closes)
        elif i < last:  # the first place where what follows it stands: a later one is never needed
            written.append(b"(?>" + text)
        else:
            written.append(text)
    return re.compile(b"".join(written), re.DOTALL)


def _step(part: re.Match[str]) -> tuple[bool, bytes]:
    match part.lastgroup:
        case "any":
            return True, b".*?"
        case "name":
            return True, b"(?P<%s>.+?)" % part["name"].encode()
        case "set":
            ranges = b"".join(
                b"%s-%s" % (re.escape(low.encode()), re.escape(high.encode()))
                for low, high in set_ranges(part["set"])
            )
            return False, b"[%s]" % ranges
    return False, re.escape(part[0].encode())
