"""File descriptors: every client and every connection to a node takes one."""

from __future__ import annotations

import resource

SPARE = 256  # listeners, worker threads, admin and control-plane connections, files


def descriptors_raise() -> int:
    """Let this process open as many files as it may at all; return how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def clients_at_most(available: int, nodes: int, workers: int) -> int:
    """Return how many clients there are descriptors for, beside all else; 0 when there is no limit."""
    if available in (resource.RLIM_INFINITY, -1):
        return 0
    return max(1, available - _taken(nodes, workers) - min(SPARE, available // 2))


def why_too_few(available: int, clients: int, nodes: int, workers: int) -> str | None:
    """Say what to do when so many clients and nodes need more descriptors than there are."""
    needed = clients + _taken(nodes, workers) + SPARE
    if available in (resource.RLIM_INFINITY, -1) or needed <= available:
        return None
    return (
        f"limits.clients of all clusters and their nodes need {needed} file descriptors, {available} are "
        "allowed: raise LimitNOFILE= (systemd) or `ulimit -Hn`, or lower limits.clients"
    )


def _taken(nodes: int, workers: int) -> int:
    return 2 * nodes * workers  # a connection for each RESP version
