"""When a renewal that a follower sees was sent, by the follower's own clock. Pure.

    leader's clock when sent ─┐
    our clock when seen ──────┴─> the least difference so far is what there is between the two clocks

A watch that lags shows renewals as regularly as one that does not, only later: their arrival says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Dating:
    """By name of object: whose renewals they are, and the least difference of clocks."""

    _known: dict[str, tuple[int, float]] = field(default_factory=dict)

    def is_new(self, name: str, turn: int) -> bool:
        """Whether nothing is known of that leader's clock, so that its first renewal may be any age."""
        return name not in self._known or self._known[name][0] != turn

    def sent(self, name: str, turn: int, sent: float, seen: float) -> float:
        """When it was sent by our clock, at the latest."""
        least = seen - sent
        if not self.is_new(name, turn):
            least = min(least, self._known[name][1])
        self._known[name] = (turn, least)
        return sent + least
