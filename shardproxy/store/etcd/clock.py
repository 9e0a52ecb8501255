"""The clock of leases: it counts the time a machine was suspended, and no setting of the time moves it."""

from __future__ import annotations

import time


def boottime() -> float:
    """Seconds since the machine started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
