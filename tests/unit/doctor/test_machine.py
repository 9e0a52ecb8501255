"""What is read of a machine, and thought of it: kernels made of a few files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from shardproxy.dataplane.descriptors import Wanted
from shardproxy.doctor.finding import Finding, Verdict
from shardproxy.doctor.machine import Machine, machine_read
from shardproxy.doctor.machine_checks import Load, machine_findings

GOOD = Machine(
    descriptors=1 << 20,
    cpus=4,
    memory_limit=2 << 30,
    overcommit=1,
    huge_pages="madvise",
    somaxconn=4096,
    syn_backlog=4096,
    local_ports=(32768, 60999),
    swap_total=0,
    swap_used=0,
    swappiness=60,
    clock="tsc",
    clocks=("tsc", "hpet"),
)
LOAD = Load(
    workers=4,
    wanted=Wanted(clients=10_000, dedicated=1024, nodes=4, shards=2, workers=4),
    buffers=1 << 30,
    engines=("127.0.0.1:7101",),
)


def found(machine: Machine, load: Load | None = LOAD) -> dict[str, Finding]:
    return {one.check: one for one in machine_findings(machine, load)}


def test_a_good_machine_is_ok() -> None:
    findings = found(GOOD)
    assert {one.verdict for one in findings.values()} == {Verdict.OK}
    assert not [one for one in findings.values() if one.why or one.mend]
    assert set(findings) == {
        *("descriptors", "cpus", "local ports", "memory", "somaxconn", "syn backlog", "clock"),
        *("overcommit", "huge pages", "swap"),
    }


@pytest.mark.parametrize(
    ("change", "check", "verdict", "mend"),
    [
        ({"descriptors": 1024}, "descriptors", Verdict.BAD, "LimitNOFILE=14"),
        ({"cpus": 2}, "cpus", Verdict.BAD, "workers: 2"),
        ({"memory_limit": 1 << 30}, "memory", Verdict.BAD, "buffers: 960mb"),
        ({"local_ports": (60000, 60999)}, "local ports", Verdict.WARN, "net.ipv4.ip_local_port_range="),
        ({"somaxconn": 128}, "somaxconn", Verdict.WARN, "sysctl -w net.core.somaxconn=4096"),
        ({"syn_backlog": 128}, "syn backlog", Verdict.WARN, "tcp_max_syn_backlog=1024"),
        ({"clock": "hpet"}, "clock", Verdict.WARN, "echo tsc > "),
        ({"overcommit": 0}, "overcommit", Verdict.WARN, "sysctl -w vm.overcommit_memory=1"),
        ({"overcommit": 2}, "overcommit", Verdict.BAD, "sysctl -w vm.overcommit_memory=1"),
        ({"huge_pages": "always"}, "huge pages", Verdict.WARN, "echo madvise > "),
        ({"swap_total": 1 << 30, "swap_used": 1 << 20, "swappiness": 1}, "swap", Verdict.WARN, "swapoff -a"),
        ({"swap_total": 1 << 30, "swappiness": 60}, "swap", Verdict.WARN, "swapoff -a"),
    ],
)
def test_what_is_wrong_is_told_with_what_mends_it(
    change: dict[str, object], check: str, verdict: Verdict, mend: str
) -> None:
    findings = found(replace(GOOD, **change))  # type: ignore[arg-type]
    assert {one.check for one in findings.values() if one.verdict is not Verdict.OK} == {check}
    assert findings[check].verdict is verdict
    assert findings[check].why
    assert mend in findings[check].mend


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"clock": "hpet", "clocks": ("hpet", "acpi_pm")}, "clock"),  # there is no better one
        ({"swap_total": 1 << 30, "swappiness": 1}, "swap"),
        ({"descriptors": -1}, "descriptors"),
    ],
)
def test_what_cannot_be_better_is_ok(change: dict[str, object], check: str) -> None:
    assert found(replace(GOOD, **change))[check].verdict is Verdict.OK  # type: ignore[arg-type]


def test_near_caches_come_on_top_of_buffers() -> None:
    assert found(GOOD, replace(LOAD, near=1 << 30))["memory"].verdict is Verdict.BAD


def test_memory_of_engines_matters_where_they_run() -> None:
    machine = replace(GOOD, overcommit=0, huge_pages="always")
    assert {"overcommit", "huge pages"} <= set(found(machine, None))
    elsewhere = found(machine, replace(LOAD, engines=()))
    assert not {"overcommit", "huge pages", "swap"} & set(elsewhere)
    assert elsewhere["engines"].verdict is Verdict.OK


def test_what_the_kernel_hides_is_not_judged() -> None:
    assert not found(Machine(descriptors=1 << 20, cpus=4), None)


def test_a_machine_is_read_from_its_files(tmp_path: Path) -> None:
    for name, text in {
        "proc/meminfo": "MemTotal: 100 kB\nSwapTotal:  2048 kB\nSwapFree: 1024 kB\nHugePages_Total: 0\n",
        "proc/sys/net/ipv4/ip_local_port_range": "32768\t60999\n",
        "proc/sys/net/ipv4/tcp_max_syn_backlog": "512\n",
        "proc/sys/net/core/somaxconn": "128\n",
        "proc/sys/vm/overcommit_memory": "0\n",
        "proc/sys/vm/swappiness": "60\n",
        "sys/fs/cgroup/cpu.max": "100000 100000\n",
        "sys/fs/cgroup/memory.max": "max\n",
        "sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never\n",
        "sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet\n",
        "sys/devices/system/clocksource/clocksource0/available_clocksource": "tsc hpet acpi_pm\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    machine = machine_read(tmp_path)
    assert machine == Machine(
        descriptors=machine.descriptors,
        cpus=1,
        overcommit=0,
        huge_pages="always",
        somaxconn=128,
        syn_backlog=512,
        local_ports=(32768, 60999),
        swap_used=1 << 20,
        swap_total=2 << 20,
        swappiness=60,
        clock="hpet",
        clocks=("tsc", "hpet", "acpi_pm"),
    )


def test_a_machine_without_any_of_the_files_is_read() -> None:
    assert machine_read(Path("/nowhere")).overcommit is None
