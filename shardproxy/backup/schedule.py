"""When a scheduled backup is due, and which ones are kept no longer. Pure; times in seconds since 1970."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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


def names_expired(
    manifests: Iterable[Manifest], cluster: str, identity: str, retention: int, now: float
) -> list[str]:
    """Scheduled backups of a cluster that are older than so many days, but never the newest of them.

    With retention 0 nothing is scheduled, and nothing deleted. What another one of that name made stays.
    """
    own = sorted(
        (one.began, one.name) for one in _automatic(manifests, cluster) if one.cluster_id == identity
    )
    if retention == 0:
        return []
    return [name for began, name in own[:-1] if began < now - retention * DAY]


def why_not_own(manifests: Iterable[Manifest], cluster: str, identity: str, where: str) -> str | None:
    """What is said of scheduled backups of another cluster of that name, or None."""
    others = [one.name for one in _automatic(manifests, cluster) if one.cluster_id != identity]
    if not others:
        return None
    return (
        f"{others[0]} in {where} is of another cluster that is called {cluster}, or of this one with another"
        f" store ({len(others)} such backups): none of them is counted or deleted; give each cluster a place"
        " of its own, and delete by hand what nobody needs"
    )


def _automatic(manifests: Iterable[Manifest], cluster: str) -> Iterator[Manifest]:
    return (one for one in manifests if one.origin is Origin.AUTOMATIC and one.cluster == cluster)
