"""`python -m tests.bench`: what a request costs here, beside its peers and the floor, all in one run.

workloads.py  what is asked        systems.py  what is measured    probe.py    start and memory of a process
tools.py      the load generator   run.py      in turn, in rounds  figures.py  medians and ratios
report.py     tables and JSON      machine.py  measured on what    README.md   how to read it, and to profile
waiting.py    many clients that block (`python -m tests.bench.waiting`)
health.py     what it costs to watch many shards, by itself (`python -m tests.bench.health`)
restore.py    RDB files read and restored (`python -m tests.bench.restore`)
moving.py     what others notice of a move, beside MIGRATE, and of a backup (`python -m tests.bench.moving`)
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import Progress, TaskID, TimeElapsedColumn

from shardproxy.model import Engine
from tests.bench import report, tools, workloads
from tests.bench.machine import describe_machine
from tests.bench.run import Plan, run_engine
from tests.bench.systems import PLAIN, STARTERS

WARMUP = 0.2  # seconds before each measured run
QUICK_SECONDS = 0.5
WIDTH = 120  # of tables, where the output is no terminal

app = App(name="python -m tests.bench", help_format="plaintext", result_action="return_value")


@app.default
def bench(
    *,
    engine: Literal["redis", "memcached", "both"] = "both",
    only: str | None = None,
    workload: str | None = None,
    rounds: int = 3,
    seconds: float = 1.2,
    threads: int | None = None,
    quick: bool = False,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> int:
    """Measure requests/s, latency and CPU per request: direct, echo floor, nutcracker, ours.

    Parameters
    ----------
    engine
        Which engine to put behind.
    only
        The systems, by comma: direct,echo,nutcracker,ours1,ours2, and if they are named direct-tls,
        haproxy-tls (before nutcracker) and ours1-tls. Ratios need echo and nutcracker.
    workload
        The workloads, by comma: get50,set50,get50p16,...
    rounds
        How often all is measured; the medians count.
    seconds
        How long each single run is.
    threads
        Of the load generator. Default: a third of the cores, at least 1.
    quick
        One round of half-second runs.
    json_file
        Where to write everything, every round of it.
    """
    if quick:
        rounds, seconds = 1, QUICK_SECONDS
    if rounds < 1 or not 0 < seconds <= 600:
        raise tools.BenchError("--rounds must be at least 1 and --seconds between 0 and 600")
    systems = names(only, tuple(STARTERS), "--only") or PLAIN
    chosen = names(workload, tuple(w.name for w in workloads.WORKLOADS), "--workload")
    threads = threads or max(1, len(os.sched_getaffinity(0)) // 3)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    notes = Console(stderr=True)

    facts = describe_machine()
    report.print_machine(console, facts)
    notes.print("building the load generator and the echo")
    load = tools.Load(tools.build() / "load", threads, seconds, WARMUP)
    engines = [Engine.REDIS, Engine.MEMCACHED] if engine == "both" else [Engine(engine)]
    plans = [Plan(e, systems, workloads.choose(e, chosen), rounds) for e in engines]
    plans = [plan for plan in plans if plan.workloads]
    runs = sum(plan.runs for plan in plans)
    notes.print(
        f"{runs} runs of {seconds + WARMUP:.1f} s: about {runs * (seconds + WARMUP + 0.05) / 60:.1f} min"
    )

    with Progress(*Progress.get_default_columns(), TimeElapsedColumn(), console=notes) as progress:
        follow = Bar(progress, progress.add_task("", total=runs))
        results = [run_engine(plan, load, follow) for plan in plans]
    for result in results:
        report.print_result(console, result)
    console.print(report.LEGEND, markup=False, highlight=False)
    if json_file is not None:
        settings: dict[str, Any] = {
            "rounds": rounds,
            "seconds": seconds,
            "warmup": WARMUP,
            "threads": threads,
        }
        json_file.write_text(json.dumps(report.to_json(facts, settings, results), indent=1) + "\n")
    return 1 if any(result.faults for result in results) else 0


class Bar:
    """Shows how far it is."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def doing(self, what: str) -> None:
        self._progress.update(self._task, description=what)

    def did_one(self) -> None:
        self._progress.advance(self._task)

    def note(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False)


def names(text: str | None, known: tuple[str, ...], option: str) -> tuple[str, ...] | None:
    """Names by comma, in the order of the table they are from."""
    if text is None:
        return None
    wanted = [name.strip() for name in text.split(",")]
    if unknown := [name for name in wanted if name not in known]:
        raise tools.BenchError(f"{option} {','.join(unknown)}: choose from {','.join(known)}")
    return tuple(name for name in known if name in wanted)


def stop(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)  # so that whatever was started is ended


def main() -> int:
    signal.signal(signal.SIGTERM, stop)
    try:
        return int(app() or 0)  # --help returns nothing
    except tools.BenchError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
