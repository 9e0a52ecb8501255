"""What is shipped: an sdist that builds the wheel, a wheel without Rust sources, one version everywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

import shardproxy

ROOT = Path(shardproxy.__file__).parent.parent
CRATE = ROOT / "shardproxy" / "dataplane"
SHIPPED = (".py", ".pyi", ".json", ".toml", ".typed", ".html", ".js", ".css", ".svg", ".txt")


def read_toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text())


def run(*command: str | Path, **environment: str) -> str:
    """Run a command in the repository; no registry is asked."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{Path.home()}/.cargo/bin:{os.environ['PATH']}",
            "CARGO_NET_OFFLINE": "true",
            "PIP_NO_INDEX": "1",
            **environment,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "maturin", "sdist", "-o", out)
    (path,) = out.iterdir()
    return path


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that the sdist builds, by the dev profile to be quick about it."""
    out = tmp_path_factory.mktemp("wheel")
    target = CRATE / "target" / "sdist"  # its own: cargo would take the crate built from here for the sdist's
    for mark in target.glob("*/.fingerprint/shardproxy-*"):
        shutil.rmtree(mark)
    run(
        *(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", out, sdist),
        CARGO_TARGET_DIR=str(target),
        MATURIN_PEP517_ARGS="--profile dev",
    )
    (path,) = out.iterdir()
    return path


def test_the_version_is_one() -> None:
    assert shardproxy.__version__ == read_toml(CRATE / "Cargo.toml")["package"]["version"]
    lock = read_toml(CRATE / "Cargo.lock")
    (ours,) = [package for package in lock["package"] if package["name"] == "shardproxy-dataplane"]
    assert ours["version"] == shardproxy.__version__


def test_the_sdist_has_all_sources_and_nothing_built(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tracked = set(run("git", "ls-files", "shardproxy").splitlines()) if (ROOT / ".git").exists() else set()
    wanted = {name for name in tracked if (ROOT / name).exists() and "/fuzz/" not in name}
    assert wanted - names == set()
    assert {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml"} <= names
    assert not [name for name in names if "/target/" in name or name.endswith((".so", ".pyc"))]


def test_the_wheel_has_the_module_and_no_rust_sources(wheel: Path) -> None:
    assert wheel.name.startswith(f"shardproxy-{shardproxy.__version__}-cp311-abi3-")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    package = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "shardproxy").rglob("*")
        if path.suffix in SHIPPED and CRATE not in path.parents
    }
    assert package - names == set()
    assert "shardproxy/dataplane/_native.abi3.so" in names
    assert "shardproxy/dataplane/_native.pyi" in names
    assert [name for name in names if name.endswith("/licenses/LICENSE")]
    beside = [name for name in names if name.startswith("shardproxy/dataplane/")]
    assert not [name for name in beside if not name.endswith((".py", ".pyi", ".so"))]


def test_the_wheel_works_where_the_sources_are_not(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    asked = "import shardproxy, shardproxy.dataplane._native as n; print(shardproxy.__file__, n.VERSION)"
    done = subprocess.run(
        (sys.executable, "-P", "-c", asked),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(tmp_path / "shardproxy" / "__init__.py"), shardproxy.__version__]
