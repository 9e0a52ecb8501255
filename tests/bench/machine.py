"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PROGRAMS = {
    "redis-server": ("redis-server", "--version"),
    "memcached": ("memcached", "--version"),
    "nutcracker": ("nutcracker", "--version"),
    "rustc": ("rustc", "--version"),
}


def describe_machine() -> dict[str, str | int | float]:
    """Cores, kernel, versions and how busy it was before."""
    facts: dict[str, str | int | float] = {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": cpu_model(Path("/proc/cpuinfo").read_text()),
        "kernel": platform.release(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "shardproxy": own_version(),
    }
    for name, command in PROGRAMS.items():
        if found := program_version(*command):
            facts[name] = found
    return facts


def machine_line(facts: dict[str, str | int | float]) -> str:
    head = f"{facts['cores']} cores ({facts['cpu']}), Linux {facts['kernel']}, load {facts['load']} before"
    versions = [f"{name} {facts[name]}" for name in ("shardproxy", "python", *PROGRAMS) if name in facts]
    return f"{head}; {', '.join(versions)}"


def cpu_model(cpuinfo: str) -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def own_version() -> str:
    try:
        return version("shardproxy")
    except PackageNotFoundError:
        return "not installed"


def program_version(program: str, option: str) -> str | None:
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin")
    if path is None:
        return None
    done = subprocess.run((path, option), capture_output=True, timeout=10, check=False)
    found = re.search(rb"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)  # nutcracker says it on stderr
    return found[0].decode() if found else None
