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

CURRENT_WITHIN = 3.0  # seconds a replica in sync may lack something: a busy one is behind for milliseconds
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

    def reached_at(self, offset: int) -> float | None:
        """Time of the newest sample that offset has reached: what was written until then is in it."""
        index = bisect_right(self.offsets, offset) - 1
        return self.times[index] if index >= 0 else None

    def behind_for(self, offset: int, at: float) -> float:
        """For how long, at the time it was told, an offset had lacked what the primary was seen to have.

        Not from one sample to the next, but from the first sample it lacks: a primary that writes nothing, or
        that we did not ask for a while, makes nobody look old. When samples end nobody gets older either.
        """
        index = bisect_right(self.offsets, offset)
        if index == len(self.offsets):
            return 0.0
        return max(0.0, min(at, self.times[-1]) - self.times[index])

    def age(self, offset: int, now: float) -> float | None:
        """Seconds since the newest sample that offset has reached; None when it has reached none."""
        at = self.reached_at(offset)
        return now - at if at is not None else None


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
