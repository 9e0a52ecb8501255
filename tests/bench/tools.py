"""The two bench binaries: built, and the load generator run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.workloads import Workload

CRATE = Path(__file__).resolve().parents[2] / "shardproxy" / "dataplane" / "benches"
PATIENCE = 30.0  # seconds a run of the load may take longer than asked


class BenchError(Exception):
    """The benchmark cannot go on; the text says what to do."""


def build() -> Path:
    """Build load and echo, optimised; return the directory they are in."""
    cargo = shutil.which("cargo") or shutil.which("cargo", path=str(Path.home() / ".cargo" / "bin"))
    if cargo is None:
        raise BenchError("cargo is not on PATH: install Rust (https://rustup.rs), or run `make bench`")
    command = (cargo, "build", "--release", "--locked", "--quiet")
    if subprocess.run(command, cwd=CRATE, check=False).returncode != 0:
        raise BenchError(f"building the load generator failed: run `cargo build --release` in {CRATE}")
    return CRATE / os.environ.get("CARGO_TARGET_DIR", "target") / "release"


@dataclass(frozen=True, slots=True)
class Target:
    """What a run loads, and the processes whose CPU time it takes."""

    protocol: str
    address: str
    pids: tuple[int, ...]
    engine_pids: tuple[int, ...]
    verify: bool = True
    cacert: Path | None = None  # TLS is spoken; who vouches for it


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of the load, as it reported it."""

    requests_per_second: float
    p50: float  # microseconds, as all below
    p99: float
    p99_9: float
    cpu: float  # per request, of the system that is measured
    engine_cpu: float
    load_cpu: float
    faults: tuple[str, ...] = ()
    raw: dict[str, Any] = field(default_factory=dict, compare=False)


def sample_of(report: dict[str, Any]) -> Sample:
    """Read the load generator's report."""
    latency, cpu = report["latency_us"], report["cpu_us_per_request"]
    return Sample(
        requests_per_second=report["requests_per_second"],
        p50=latency["p50"],
        p99=latency["p99"],
        p99_9=latency["p99_9"],
        cpu=cpu["system"],
        engine_cpu=cpu["engines"],
        load_cpu=cpu["load"],
        faults=faults_of(report),
        raw=report,
    )


FAULTS = {
    "errors": "error replies",
    "wrong": "wrong replies",
    "closed": "connections closed",
    "unanswered": "requests unanswered",
    "misses": "keys missed",
}


def faults_of(report: dict[str, Any]) -> tuple[str, ...]:
    """What a run must not see; empty when all went well."""
    faults = [f"{report[name]} {what}" for name, what in FAULTS.items() if report[name]]
    if report["requests"] == 0:
        faults.append("not one request answered")
    if report["first_fault"]:
        faults.append(f"the first: {report['first_fault']!r}")
    return tuple(faults)


@dataclass(frozen=True, slots=True)
class Load:
    """The load generator, and how long and wide its runs are."""

    binary: Path
    threads: int
    seconds: float
    warmup: float

    def measure(self, target: Target, workload: Workload) -> Sample:
        """One measured run."""
        options = [*self._options(target, workload), "--connections", str(workload.connections)]
        options += ["--pipeline", str(workload.pipeline), "--threads", str(self.threads)]
        options += ["--duration", str(self.seconds), "--warmup", str(self.warmup)]
        options += ["--watch", f"system={','.join(map(str, target.pids))}"]
        options += ["--watch", f"engines={','.join(map(str, target.engine_pids))}"]
        if workload.rate is not None:
            options += ["--rate", str(workload.rate)]
        if not target.verify:
            options.append("--no-verify")
        return sample_of(self._run(options))

    def fill(self, target: Target, workload: Workload) -> None:
        """Write every key the workload may read, once; raise BenchError when that fails."""
        options = self._options(target, workload)
        options[options.index(workload.request)] = "set4k" if workload.request.endswith("4k") else "set"
        options += ["--requests", str(workload.keys), "--sequential", "--connections", "4", "--pipeline", "8"]
        faults = faults_of(self._run(options))
        if faults:
            raise BenchError(f"filling {target.address} for {workload.name}: {', '.join(faults)}")

    def _options(self, target: Target, workload: Workload) -> list[str]:
        chosen = ["--protocol", target.protocol, "--address", target.address, "--workload", workload.request]
        if target.cacert is not None:
            chosen += ["--cacert", str(target.cacert)]
        return [*chosen, "--keys", str(workload.keys), "--value-size", str(workload.value_size)]

    def _run(self, options: Sequence[str]) -> dict[str, Any]:
        command = (str(self.binary), *options)
        try:
            done = subprocess.run(
                command, capture_output=True, timeout=self.seconds + self.warmup + PATIENCE, check=False
            )
        except subprocess.TimeoutExpired as e:
            raise BenchError(f"the load hangs: {' '.join(command)}") from e
        if done.returncode != 0:
            raise BenchError(f"{done.stderr.decode().strip()} ({' '.join(command)})")
        report: dict[str, Any] = json.loads(done.stdout)
        return report
