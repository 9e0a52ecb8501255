"""How old a replica's data is, from sampled offsets. Pure.

INFO's `lag` is the time since the last acknowledgement, in whole seconds: not what a reader wants to know.
Here the primary's offset is sampled with the time; a replica that has reached a sample's offset is as fresh
as that sample, at least.

    primary   t=10.0: 500   t=10.1: 620   t=10.2: 700
    replica   offset 650 at 10.25   ->  fresh as of 10.1  ->  0.15 s old, at most
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from shardproxy.model.replication import Replication, Role

MAX_SAMPLES = 128  # 12.8 s at 100 ms: an older replica is too old for any bound worth setting


@dataclass(frozen=True, slots=True)
class OffsetTrail:
    """A primary's offsets over time, both growing. Of one history: a new primary starts a new trail."""

    times: tuple[float, ...] = ()
    offsets: tuple[int, ...] = ()

    def with_sample(self, time: float, offset: int) -> OffsetTrail:
        """Add what the primary had when it was asked. A lower offset is another history: start anew."""
        if self.offsets and offset < self.offsets[-1]:
            return OffsetTrail((time,), (offset,))
        keep = MAX_SAMPLES - 1
        return OffsetTrail((*self.times[-keep:], time), (*self.offsets[-keep:], offset))

    def age(self, offset: int, now: float) -> float | None:
        """Seconds since the newest sample that offset has reached; None when it has reached none."""
        index = bisect_right(self.offsets, offset) - 1
        return now - self.times[index] if index >= 0 else None


def why_not_readable(
    replica: Replication | None, primary: Replication | None, age: float | None, max_staleness: float | None
) -> str | None:
    """The reason reads may not go to a replica, or None. No bound on staleness = None."""
    if replica is None:
        return "not heard of yet"
    if replica.role is not Role.REPLICA:
        return "not a replica"
    if replica.is_syncing:
        return "syncing"
    if not replica.is_link_up:
        return "its link to the primary is down"
    if primary is not None and replica.lineage.replid != primary.lineage.replid:
        return "follows another history than the primary's"
    if max_staleness is None:
        return None
    if age is None:
        return "its data is older than can be told"
    return f"its data is {age:.1f} s old" if age > max_staleness else None
