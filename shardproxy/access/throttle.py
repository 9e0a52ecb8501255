"""How many logins may be tried: a bucket for each who tries, which refills. Pure; told what time it is.

Those that are good count by user, as AWS counts them. Those that are not count by user and origin: nobody
shuts a user out from where that user is by failing as it from elsewhere.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

MAX_KNOWN = 10_000  # who tried longest ago is forgotten, and has then a full bucket
IPV6_PREFIX = 64  # bits; whoever has one address there has all that begin like it


@dataclass(slots=True)
class Throttle:
    """Counts by anything: `burst` at once, and `per_second` from then on."""

    burst: float
    per_second: float
    size: int = MAX_KNOWN
    _left: OrderedDict[Hashable, tuple[float, float]] = field(default_factory=OrderedDict)  # and as of when

    def is_left(self, who: Hashable, now: float) -> bool:
        """Whether there is one to take."""
        return self._count(who, now) >= 1

    def is_taken(self, who: Hashable, now: float) -> bool:
        """Take one, unless none is left; `now` never goes back."""
        left = self._count(who, now)
        is_taken = left >= 1
        self._left[who] = (left - 1 if is_taken else left, now)
        self._left.move_to_end(who)
        if len(self._left) > self.size:
            self._left.popitem(last=False)
        return is_taken

    def _count(self, who: Hashable, now: float) -> float:
        left, since = self._left.get(who, (self.burst, now))
        return min(self.burst, left + (now - since) * self.per_second)

    def __len__(self) -> int:
        return len(self._left)


def of_users() -> Throttle:
    """For logins that are good: an application's whole pool connects anew at once."""
    return Throttle(burst=1000, per_second=100)


def of_failures() -> Throttle:
    """For logins that are not: somebody has mistyped, or a password has changed; else it is guessing."""
    return Throttle(burst=20, per_second=0.1)


def origin_of(address: str) -> str:
    """Where somebody is, without the port; one text for all unix sockets of a path."""
    host = (address.rpartition(":")[0] or address).strip("[]").partition("%")[0]
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((int(ip), IPV6_PREFIX), strict=False))
