"""Reads what is asked for: what cannot be kept, or is not known, is refused. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from shardproxy.jobs.interface import JobError

MAX_WANTS = 48 << 10  # bytes of JSON: all jobs of a cluster share what notes may take
MAX_RATE = 1 << 40  # bytes a second


def known_only(kind: str, wants: Mapping[str, Any], known: Collection[str]) -> None:
    """Raise JobError for what this kind of work does not know: it would be kept, and shown to everybody."""
    if unknown := sorted(set(wants) - set(known)):
        names = ", ".join(known)
        raise JobError(f"{kind} knows no {str(unknown[0])[:40]!r}: what can be asked for is {names}")


def kept_as(wants: Mapping[str, Any]) -> dict[str, Any]:
    """The same as what can be kept; raise JobError where it cannot be shown as JSON, or is too much."""
    try:
        size = len(json.dumps(dict(wants), allow_nan=False, ensure_ascii=False).encode())
    except (ValueError, TypeError, RecursionError):
        raise JobError("nothing was done: what was asked for is no JSON that can be shown") from None
    if size > MAX_WANTS:
        raise JobError(f"nothing was done: what was asked for has {size} bytes, {MAX_WANTS} at most are kept")
    return dict(wants)


def rate_wanted(wants: Mapping[str, Any]) -> int:
    """Bytes a second, 0 = no limit; raise JobError."""
    rate = wants.get("rate", 0)
    if not isinstance(rate, int) or isinstance(rate, bool) or not 0 <= rate <= MAX_RATE:
        raise JobError(f"rate: send a number of bytes a second up to {MAX_RATE}, 0 = as fast as it goes")
    return rate
