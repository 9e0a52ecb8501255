"""Threads that wait for copies' threads: many at once, and none in place of others' work."""

from __future__ import annotations

import trio

MOST = 512  # a cluster has fewer shards
WAITS = trio.CapacityLimiter(MOST)
STOPS = trio.CapacityLimiter(MOST)  # whoever stops one does not queue behind those who wait
