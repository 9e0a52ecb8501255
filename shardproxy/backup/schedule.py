"""When a scheduled backup is due, and which ones are kept no longer. Pure; times in seconds since 1970."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from shardproxy.archive import Manifest, Origin
from shardproxy.config.backups import Window

DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Turn:
    """One day's window."""

    begins: float
    ends: float

    def has(self, now: float) -> bool:
        return self.begins <= now < self.ends


def turn_of(window: Window, now: float) -> Turn:
    """The window that is open now, or the last one that was."""
    begins = now - now % DAY + window.begins * 60.0
    if begins > now:
        begins -= DAY
    return Turn(begins, begins + window.length * 60.0)


def names_expired(manifests: Iterable[Manifest], cluster: str, retention: int, now: float) -> list[str]:
    """Scheduled backups of a cluster that are older than so many days, but never the newest of them.

    With retention 0 nothing is scheduled, and nothing deleted.
    """
    own = sorted(
        (one.began, one.name)
        for one in manifests
        if one.origin is Origin.AUTOMATIC and one.cluster == cluster
    )
    if retention == 0:
        return []
    return [name for began, name in own[:-1] if began < now - retention * DAY]
