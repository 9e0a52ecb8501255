"""What .ci/setup finds missing, on machines made of a few stand-in programs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("bash", "cut", "dirname", "head", "sed", "sort", "env")
GOOD, OLD = "cargo 1.999.0", "cargo 1.63.0"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Its programs: what the script itself needs, Python, a linker; apt-get and a user who is not root."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in TOOLS:
        (directory / name).symlink_to(shutil.which(name) or name)
    (directory / "python3").symlink_to(Path(sys.executable).resolve())
    for name, says in (("cc", ""), ("apt-get", ""), ("id", "1000")):
        add(directory, name, says)
    return directory


def add(machine: Path, name: str, says: str = "") -> None:
    program = machine / name
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)


def setup(machine: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [machine / "bash", ROOT / ".ci/setup", *arguments],
        env={"PATH": str(machine), "HOME": str(machine.parent), **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.mark.parametrize("cargo", [None, OLD])
def test_curl_is_asked_for_where_rustup_has_to_be_fetched(machine: Path, cargo: str | None) -> None:
    if cargo is not None:
        add(machine, "cargo", cargo)
    done = setup(machine, "system")
    assert done.returncode == 1
    assert "sudo apt-get install -y ca-certificates curl" in done.stderr


def test_curl_is_not_asked_for_where_rustup_or_a_good_cargo_is(machine: Path) -> None:
    add(machine, "cargo", GOOD)
    assert setup(machine, "system").returncode == 0
    add(machine, "cargo", OLD)
    add(machine, "rustup")
    assert setup(machine, "system").returncode == 0


def test_all_that_is_missing_is_said_at_once(machine: Path) -> None:
    (machine / "cc").unlink()
    done = setup(machine, "system", "no-such-engine", "redis-cli")
    assert done.returncode == 1
    for package in ("gcc", "libc6-dev", "curl", "no-such-engine", "redis-tools"):
        assert package in done.stderr


def test_what_is_missing_is_named_by_its_package(machine: Path) -> None:
    add(machine, "cargo", GOOD)
    done = setup(machine, "system", "etcd", "etcdctl", "redis-sentinel")
    assert "sudo apt-get install -y etcd-client etcd-server redis-sentinel" in done.stderr


def test_services_of_what_was_installed_are_stopped(machine: Path) -> None:
    """Here they are only started by the tests, on ports of their own."""
    add(machine, "dpkg", "/lib/systemd/system/etcd.service\n/lib/systemd/system/etcd@.service\n/usr/bin/etcd")
    told = machine.parent / "told"
    (machine / "systemctl").write_text(f'#!/bin/sh\necho "$@" >>{told}\n')
    (machine / "systemctl").chmod(0o755)
    assert setup(machine, "services", "etcd-server", SYSTEMD_RUNTIME=str(machine)).returncode == 0
    assert told.read_text() == "disable --now --quiet etcd.service\n"
    told.unlink()
    assert setup(machine, "services", "etcd-server", SYSTEMD_RUNTIME="/nowhere").returncode == 0
    assert not told.exists()
