"""What is thought of a machine that serves a config, or any. Pure."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from dataclasses import dataclass

from shardproxy.dataplane.descriptors import Wanted, descriptors_share, why_too_few
from shardproxy.doctor.finding import Finding, bad, ok, warn
from shardproxy.doctor.machine import Machine

ABOUT = "machine"
BACKLOG = 4096  # what every endpoint asks for (net/listener.rs)
SYN_BACKLOG = 1024
OWN_MEMORY = 64 << 20  # bytes of a proxy without clients
FAST_CLOCKS = frozenset({"tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"})
SWAPPINESS = 10
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Load:
    """What a config asks of the machine."""

    workers: int
    wanted: Wanted
    engines: tuple[str, ...]  # nodes on this machine
    buffers: int  # bytes; 0 = no limit
    near: int = 0  # bytes that near caches take beside them


def machine_findings(machine: Machine, load: Load | None) -> Iterator[Finding]:
    """Look at everything; without a load, at what does not depend on one."""
    if load is not None:
        yield _descriptors(machine, load)
        yield _cpus(machine, load)
        yield from _ports(machine, load)
        yield from _memory(machine, load)
    yield from _backlogs(machine)
    yield from _clock(machine)
    if load is None or load.engines:
        yield from _for_engines(machine)
    else:
        yield ok(ABOUT, "engines", "none of the nodes is on this machine: memory settings are not looked at")


def _descriptors(machine: Machine, load: Load) -> Finding:
    available, wanted = machine.descriptors, load.wanted
    why = why_too_few(available, wanted)
    shown = "no limit" if available in (-1, resource.RLIM_INFINITY) else f"{available} may be open"
    if why is None:
        return ok(ABOUT, "descriptors", shown)
    needed = why.partition(" need ")[2].partition(" ")[0]
    share = descriptors_share(available, wanted)
    return bad(
        ABOUT,
        "descriptors",
        f"{shown}, {needed} are needed",
        f"{share.clients} clients would be let in, and {share.dedicated} connections of their own",
        f"ulimit -Hn {needed}  # as root; under systemd LimitNOFILE={needed}: systemctl edit shardproxy",
    )


def _cpus(machine: Machine, load: Load) -> Finding:
    shown = f"{load.workers} workers, {machine.cpus} CPUs"
    if load.workers <= machine.cpus:
        return ok(ABOUT, "cpus", shown)
    return bad(
        ABOUT,
        "cpus",
        shown,
        "workers wait for each other, and one that the kernel holds back looks dead to its clients",
        f"# in the config: workers: {machine.cpus}; or raise the CPU limit (cpu.max, CPUQuota=, limits.cpu)",
    )


def _ports(machine: Machine, load: Load) -> Iterator[Finding]:
    if machine.local_ports is None or not load.wanted.nodes:
        return
    first, last = machine.local_ports
    there, needed = last - first + 1, load.wanted.shared // load.wanted.nodes + load.wanted.own
    shown = f"{there} local ports, at most {needed} connections to one node"
    if needed <= there:
        yield ok(ABOUT, "local ports", shown)
        return
    yield warn(
        ABOUT,
        "local ports",
        shown,
        "connections to nodes cannot be opened when all are taken",
        "sysctl -w net.ipv4.ip_local_port_range='1024 65535'",
    )


def _memory(machine: Machine, load: Load) -> Iterator[Finding]:
    limit = machine.memory_limit
    if limit is None:
        return
    taken = load.near + OWN_MEMORY
    shown = f"{limit // MIB} MiB for this process, limits.buffers {load.buffers // MIB} MiB"
    shown += f", near caches {load.near // MIB} MiB" if load.near else ""
    if load.buffers and load.buffers + taken <= limit:
        yield ok(ABOUT, "memory", shown)
        return
    room = max(1, (limit - taken) // MIB)
    yield bad(
        ABOUT,
        "memory",
        shown if load.buffers else f"{limit // MIB} MiB for this process, limits.buffers without limit",
        "the kernel ends the proxy before it stops reading from clients",
        f"# in the config: limits: {{buffers: {room}mb}}; or raise the memory limit (memory.max, MemoryMax=)",
    )


def _backlogs(machine: Machine) -> Iterator[Finding]:
    for check, key, value, least in (
        ("somaxconn", "net.core.somaxconn", machine.somaxconn, BACKLOG),
        ("syn backlog", "net.ipv4.tcp_max_syn_backlog", machine.syn_backlog, SYN_BACKLOG),
    ):
        if value is None:
            continue
        if value >= least:
            yield ok(ABOUT, check, f"{value}")
            continue
        yield warn(
            ABOUT,
            check,
            f"{value}, {least} are asked for",
            "when many clients connect at once, as after a failover, some have to try again a second later",
            f"sysctl -w {key}={least}",
        )


def _clock(machine: Machine) -> Iterator[Finding]:
    if machine.clock is None:
        return
    if machine.clock in FAST_CLOCKS:
        yield ok(ABOUT, "clock", machine.clock)
        return
    better = next((clock for clock in machine.clocks if clock in FAST_CLOCKS), None)
    if better is None:
        yield ok(ABOUT, "clock", f"{machine.clock}; the machine has no faster one")
        return
    yield warn(
        ABOUT,
        "clock",
        f"{machine.clock}, and {better} is there",
        "every look at the clock goes through the kernel; workers and engines look several times a turn",
        f"echo {better} > /sys/devices/system/clocksource/clocksource0/current_clocksource",
    )


def _for_engines(machine: Machine) -> Iterator[Finding]:
    """What engines on this machine suffer from."""
    if machine.overcommit is not None:
        shown = f"vm.overcommit_memory = {machine.overcommit}"
        why = "an engine that saves, or sends all data to a replica, forks: refused where memory is half full"
        if machine.overcommit == 1:
            yield ok(ABOUT, "overcommit", shown)
        else:
            judge = bad if machine.overcommit == 2 else warn
            yield judge(ABOUT, "overcommit", shown, why, "sysctl -w vm.overcommit_memory=1")
    if machine.huge_pages is not None:
        if machine.huge_pages != "always":
            yield ok(ABOUT, "huge pages", machine.huge_pages)
        else:
            yield warn(
                ABOUT,
                "huge pages",
                "always",
                "after a fork each write copies 2 MiB: latency, and memory beyond maxmemory",
                "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
            )
    yield from _swap(machine)


def _swap(machine: Machine) -> Iterator[Finding]:
    if machine.swap_total is None or machine.swap_used is None:
        return
    if not machine.swap_total:
        yield ok(ABOUT, "swap", "none")
        return
    shown = f"{machine.swap_used // MIB} of {machine.swap_total // MIB} MiB used"
    if machine.swappiness is not None and machine.swappiness <= SWAPPINESS and not machine.swap_used:
        yield ok(ABOUT, "swap", f"{shown}, vm.swappiness = {machine.swappiness}")
        return
    yield warn(
        ABOUT,
        "swap",
        shown,
        "an engine whose keys are read from disk is so slow that it is taken for dead",
        "swapoff -a  # or: sysctl -w vm.swappiness=1",
    )
