"""How many CPUs this process may really use: what `workers: auto` means."""

from __future__ import annotations

import os
from pathlib import Path

from shardproxy.config.root import MAX_WORKERS, Config

CGROUP_QUOTA = Path(
    "/sys/fs/cgroup/cpu.max"
)  # cgroup v2: "<quota> <period>" in microseconds, or "max <period>"


def workers_of(config: Config) -> int:
    """How many workers a config has started here."""
    return cpu_count() if config.workers == "auto" else config.workers


def cpu_count(quota_file: Path = CGROUP_QUOTA) -> int:
    """Count the CPUs this process may run on, a container's quota rounded up; 1 to MAX_WORKERS."""
    allowed = min(len(os.sched_getaffinity(0)), MAX_WORKERS)
    quota = _quota(quota_file)
    return allowed if quota is None else max(1, min(allowed, -int(-quota // 1)))


def _quota(file: Path) -> float | None:
    try:
        quota, period = file.read_text().split()
    except (OSError, ValueError):  # no cgroup v2 here
        return None
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None
