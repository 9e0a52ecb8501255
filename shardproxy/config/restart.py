"""Which settings a running process cannot change."""

from __future__ import annotations

from shardproxy.config.root import Config

FIXED = ("workers", "admin", "limits", "log", "state", "zone", "audit", "store", "name")


def settings_waiting(started: Config, now: Config) -> list[str]:
    """Name those that differ from what the process was started with."""
    return [name for name in FIXED if getattr(now, name) != getattr(started, name)]
