"""What a node counts and measures of itself, for metrics: nothing is decided by it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Vitals:
    """Of one node, as its INFO said at `at` (trio time). Counts begin anew when the node does."""

    at: float
    memory_used: int = 0  # bytes, without what the allocator holds beside them
    memory_max: int = 0  # bytes; 0: no limit
    memory_resident: int = 0  # bytes
    keys: int = 0  # of all databases
    clients: int = 0  # connections, ours too
    cpu: float = 0.0  # seconds of the thread that runs commands; of all threads before Redis 6.2
    evicted: int = 0  # keys
    expired: int = 0  # keys
    hits: int = 0  # lookups of keys that are there
    misses: int = 0
    rejected: int = 0  # connections beyond maxclients
    full_syncs: int = 0  # with its replicas
    is_saving_well: bool = True  # the last save, rewrite and write to its log
