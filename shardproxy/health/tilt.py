"""When our own view cannot be trusted. Pure.

Either our loop stood still, so that what looks like silence is ours; or most shards look down at once, and it
is more likely that we are cut off than that they all died.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

MASS = 3  # primaries; of fewer, half prove nothing
CALM = 10.0  # seconds without a sign until our view counts again


@dataclass(frozen=True, slots=True)
class Tilt:
    """Whether and why; `until` is trio time."""

    until: float = 0.0
    reason: str = ""
    is_mass: bool = False

    def is_tilted(self, now: float) -> bool:
        return now < self.until or self.is_mass


def tilt_stalled(tilt: Tilt, late: float, now: float) -> Tilt:
    """Our loop came that many seconds late."""
    return replace(tilt, until=now + CALM, reason=f"our own loop stood still for {late:.1f} s")


def tilt_counted(tilt: Tilt, silent: int, total: int, now: float) -> Tilt:
    """That many of the primaries look silent."""
    is_mass = total >= MASS and silent * 2 > total
    if is_mass:
        return Tilt(now + CALM, f"{silent} of {total} primaries look down at once", is_mass=True)
    return replace(tilt, is_mass=False)
