"""Which members are dead, by what this process saw change and its own clock. Pure.

Nobody is judged by what another clock says, nor while we hear nothing ourselves: what was silent because we
were cut off, or frozen, gets its whole time again. The deletion that follows is of the very heartbeat that
was seen last, so who has renewed meanwhile lives on.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Expiry:
    """Times of the last change of each heartbeat, by uid."""

    ttl: float
    gap: float  # seconds without any news after which silence is ours
    _seen: dict[str, tuple[int, float]] = field(default_factory=dict)
    _since: float = float("-inf")  # since when we have heard without a gap
    _heard: float = float("-inf")

    def heard(self, now: float) -> None:
        """There was news of any kind."""
        if now - self._heard > self.gap:
            self._since = now
        self._heard = max(self._heard, now)

    def observe(self, uid: str, version: int, now: float) -> None:
        """A heartbeat was seen as of a version."""
        known = self._seen.get(uid)
        if known is None or version > known[0]:
            self._seen[uid] = (version, now)

    def forget(self, uid: str) -> None:
        self._seen.pop(uid, None)

    def dead(self, now: float) -> list[tuple[str, int]]:
        """uid and version of each heartbeat that did not change for as long as a member lives without one."""
        if now - self._heard > self.gap:
            return []
        return [
            (uid, version)
            for uid, (version, seen) in self._seen.items()
            if now - max(seen, self._since) > self.ttl
        ]
