"""Limits and settings of this machine, as the kernel tells them. Decides nothing."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from pathlib import Path

from shardproxy.dataplane.cpus import cpu_count

ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class Machine:
    """None where the kernel does not tell, as in some containers."""

    descriptors: int  # that this process may have open; -1 = no limit
    cpus: int  # that this process may use, a cgroup's quota rounded up
    memory_limit: int | None = None  # of the cgroup, bytes
    overcommit: int | None = None
    huge_pages: str | None = None  # always, madvise or never
    somaxconn: int | None = None
    syn_backlog: int | None = None
    local_ports: tuple[int, int] | None = None
    swap_used: int | None = None  # bytes
    swap_total: int | None = None
    swappiness: int | None = None
    clock: str | None = None
    clocks: tuple[str, ...] = ()  # that there are


def machine_read(root: Path = ROOT) -> Machine:
    """Read all of it; files are those below `root`."""
    memory = _fields(root / "proc/meminfo")
    swap_total, swap_free = memory.get("SwapTotal"), memory.get("SwapFree")
    ports = _words(root / "proc/sys/net/ipv4/ip_local_port_range")
    clock = root / "sys/devices/system/clocksource/clocksource0"
    return Machine(
        descriptors=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        cpus=cpu_count(root / "sys/fs/cgroup/cpu.max"),
        memory_limit=_number(root / "sys/fs/cgroup/memory.max"),
        overcommit=_number(root / "proc/sys/vm/overcommit_memory"),
        huge_pages=_chosen(root / "sys/kernel/mm/transparent_hugepage/enabled"),
        somaxconn=_number(root / "proc/sys/net/core/somaxconn"),
        syn_backlog=_number(root / "proc/sys/net/ipv4/tcp_max_syn_backlog"),
        local_ports=(int(ports[0]), int(ports[1])) if len(ports) == 2 else None,
        swap_used=swap_total - swap_free if swap_total is not None and swap_free is not None else None,
        swap_total=swap_total,
        swappiness=_number(root / "proc/sys/vm/swappiness"),
        clock=(_words(clock / "current_clocksource") or (None,))[0],
        clocks=tuple(_words(clock / "available_clocksource")),
    )


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except (OSError, UnicodeDecodeError):
        return []


def _number(path: Path) -> int | None:
    words = _words(path)
    return int(words[0]) if len(words) == 1 and words[0].isdigit() else None


def _chosen(path: Path) -> str | None:
    """`always [madvise] never`: the one in brackets."""
    return next((word[1:-1] for word in _words(path) if word.startswith("[")), None)


def _fields(path: Path) -> dict[str, int]:
    """`SwapTotal:  1024 kB`, as bytes."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    split = (line.split() for line in lines)
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in split if len(words) == 3}
