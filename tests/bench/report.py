"""The result as people and as programs read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from shardproxy.model import Engine
from tests.bench.figures import FLOOR, PEER, Figures
from tests.bench.machine import machine_line
from tests.bench.probe import Memory, Start
from tests.bench.workloads import GOALS, Goal, Workload

JUDGED = "ours1"  # floor and peer have one thread too
LEGEND = f"""\
CPU: microseconds per request of the system's own processes, user and system, by the kernel's clocks of them.
x {FLOOR}, x {PEER}: CPU compared within the same round. All figures are medians; +- is the spread of CPU.
engine, load: CPU per request of the shards and of the load generator.
goals: what {JUDGED} may cost, x {FLOOR} and x {PEER}. ! marks a goal missed, and after a system faults."""


@dataclass(slots=True)
class EngineResult:
    """All that was found with one engine."""

    engine: Engine
    figures: dict[Workload, tuple[Figures, ...]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)  # system: why
    starts: dict[str, Start] = field(default_factory=dict)
    memory: dict[str, Memory] = field(default_factory=dict)

    @property
    def faults(self) -> list[str]:
        return [
            f"{workload.name}, {figures.system}: {', '.join(figures.faults)}"
            for workload, all_figures in self.figures.items()
            for figures in all_figures
            if figures.faults
        ]


def print_result(console: Console, result: EngineResult) -> None:
    """Print one engine's tables and what went wrong."""
    console.print(full_table(result))
    for workload in result.figures:
        console.print(f"{workload.name}: {workload.describe()}", markup=False, highlight=False)
    console.print(cpu_table(result))
    if result.starts or result.memory:
        console.print(process_table(result))
    for system, why in result.skipped.items():
        console.print(f"{result.engine.value}: {system} left out: {why}", markup=False)
    for fault in result.faults:
        console.print(f"{result.engine.value}: {fault}", style="red", markup=False)


def full_table(result: EngineResult) -> Table:
    table = Table(
        title=f"{result.engine.value}: every workload", title_justify="left", caption_justify="left"
    )
    table.add_column("system", no_wrap=True)
    for name in (
        "requests/s",
        "p50 us",
        "p99 us",
        "CPU us",
        "+-",
        f"x {FLOOR}",
        f"x {PEER}",
        "engine us",
        "load us",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for workload, all_figures in result.figures.items():
        table.add_row(f"[bold]{workload.name}[/]")
        for figures in all_figures:
            table.add_row(*full_row(figures))
        table.add_section()
    return table


def full_row(figures: Figures) -> tuple[str, ...]:
    return (
        f"  {figures.system}" + (" !" if figures.faults else ""),
        f"{figures.requests_per_second:,.0f}",
        f"{figures.p50:,.0f}",
        f"{figures.p99:,.0f}",
        f"{figures.cpu:.2f}",
        f"{figures.spread:.0%}",
        times(figures.to_floor),
        times(figures.to_peer),
        f"{figures.engine_cpu:.2f}",
        f"{figures.load_cpu:.2f}",
    )


def cpu_table(result: EngineResult) -> Table:
    """CPU per request of all systems side by side, with the goals: what to optimise."""
    systems = list(dict.fromkeys(f.system for row in result.figures.values() for f in row))
    table = Table(title=f"{result.engine.value}: CPU us per request (x {FLOOR})", title_justify="left")
    table.add_column("workload", no_wrap=True)
    for system in systems:
        table.add_column(system, justify="right", no_wrap=True)
    table.add_column("goals", no_wrap=True)
    for workload, all_figures in result.figures.items():
        goal = GOALS[result.engine].get(workload.name)
        cells = {figures.system: cpu_cell(figures, goal) for figures in all_figures}
        table.add_row(workload.name, *(cells.get(system, "-") for system in systems), goal_cell(goal))
    return table


def cpu_cell(figures: Figures, goal: Goal | None) -> str:
    cell = f"{figures.cpu:.2f}" + (f" ({figures.to_floor:.2f})" if figures.to_floor is not None else "")
    if goal is None or figures.system != JUDGED:
        return cell
    return f"[green]{cell}[/]" if figures.meets(goal) else f"[red]{cell} ![/]"


def goal_cell(goal: Goal | None) -> str:
    if goal is None:
        return ""
    return f"{'-' if goal.floor is None else goal.floor}, {goal.peer}"


def process_table(result: EngineResult) -> Table:
    table = Table(title=f"{result.engine.value}: the process", title_justify="left")
    table.add_column("system")
    for name in ("listening after", "ready after", "idle", "per idle client"):
        table.add_column(name, justify="right", no_wrap=True)
    for system in dict.fromkeys((*result.starts, *result.memory)):
        start, memory = result.starts.get(system), result.memory.get(system)
        table.add_row(
            system,
            f"{start.listening * 1000:.0f} ms" if start else "-",
            f"{start.ready * 1000:.0f} ms" if start and start.ready is not None else "-",
            f"{memory.idle_mib:.1f} MiB" if memory else "-",
            f"{memory.client_kib:.1f} KiB" if memory else "-",
        )
    return table


def times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def print_machine(console: Console, facts: dict[str, str | int | float]) -> None:
    console.print(machine_line(facts), markup=False, highlight=False)
    if float(facts["load"]) > 0.5:
        console.print("The machine is busy with something else: expect wide spreads.", style="yellow")


def to_json(
    facts: dict[str, str | int | float], settings: dict[str, Any], results: Sequence[EngineResult]
) -> dict[str, Any]:
    """Everything that was found, every round of it."""
    return {"machine": facts, "settings": settings, "engines": [engine_json(result) for result in results]}


def engine_json(result: EngineResult) -> dict[str, Any]:
    return {
        "engine": result.engine.value,
        "skipped": result.skipped,
        "start_seconds": {system: asdict(start) for system, start in result.starts.items()},
        "memory": {system: asdict(memory) for system, memory in result.memory.items()},
        "workloads": [
            {
                "name": workload.name,
                "description": workload.describe(),
                "goal": asdict(goal) if (goal := GOALS[result.engine].get(workload.name)) else None,
                "systems": {figures.system: figures_json(figures) for figures in all_figures},
            }
            for workload, all_figures in result.figures.items()
        ],
    }


def figures_json(figures: Figures) -> dict[str, Any]:
    return {
        "requests_per_second": figures.requests_per_second,
        "latency_us": {"p50": figures.p50, "p99": figures.p99, "p99_9": figures.p99_9},
        "cpu_us_per_request": figures.cpu,
        "cpu_spread": figures.spread,
        "cpu_to_floor": figures.to_floor,
        "cpu_to_peer": figures.to_peer,
        "engine_cpu_us_per_request": figures.engine_cpu,
        "load_cpu_us_per_request": figures.load_cpu,
        "faults": list(figures.faults),
        "rounds": [sample.raw for sample in figures.rounds],
    }
