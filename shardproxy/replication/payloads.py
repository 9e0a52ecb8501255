"""Which engine reads what DUMP of another one, or its RDB, holds. Pure.

Both have the version of the RDB (rdb.h), and an engine reads all before its own. Redis and Valkey part
after 11.
"""

from __future__ import annotations

from collections.abc import Sequence

REDIS = (
    ((8, 0), 12),
    ((7, 4), 12),
    ((7, 2), 11),
    ((7, 0), 10),
    ((5, 0), 9),
    ((4, 0), 8),
    ((3, 2), 7),
    ((2, 6), 6),
)  # since which release it writes which version, the newest first
VALKEY = (((9, 0), 80), ((7, 2), 11))
SHARED = 11  # the last version that both read alike


def payload_of(release: Sequence[int], *, is_valkey: bool) -> int | None:
    """The version that a release like (7, 0, 15) writes; None where it is not known."""
    return next(
        (version for since, version in (VALKEY if is_valkey else REDIS) if tuple(release) >= since), None
    )


def is_read(payload: int, by: int, *, is_same_engine: bool) -> bool:
    """Whether who writes that version itself reads this one."""
    return payload <= by and (is_same_engine or payload <= SHARED)
