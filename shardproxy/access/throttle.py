"""How many logins each user may try: a bucket of them that refills. Pure; the caller says what time it is."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

BURST = 1000  # logins at once: an application's whole pool that connects anew
PER_SECOND = 100.0
MAX_USERS = 1000  # ElastiCache's limit; whoever tried longest ago is forgotten, and has then a full bucket


@dataclass(slots=True)
class Throttle:
    """Counts logins by user."""

    burst: float = BURST
    per_second: float = PER_SECOND
    _left: OrderedDict[bytes, tuple[float, float]] = field(default_factory=OrderedDict)  # and as of when

    def is_taken(self, user: bytes, now: float) -> bool:
        """Take one login of a user, unless none is left; `now` never goes back."""
        left, since = self._left.pop(user, (self.burst, now))
        left = min(self.burst, left + (now - since) * self.per_second)
        is_taken = left >= 1
        self._left[user] = (left - 1 if is_taken else left, now)
        if len(self._left) > MAX_USERS:
            self._left.popitem(last=False)
        return is_taken
