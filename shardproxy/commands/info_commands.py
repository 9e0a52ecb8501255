"""INFO's figures of single commands, of applications alone. Pure.

What nodes know from the proxy alone is shown as often as applications called it; how long it took, only they
know.
"""

from __future__ import annotations

from collections.abc import Iterator

from shardproxy.commands.counters import Counts
from shardproxy.commands.own import is_own
from shardproxy.commands.table import Table
from shardproxy.dataplane.statistics import CommandStatistics

CALLS = "cmdstat_"
TIMES = "latency_percentiles_usec_"


def calls_correct(table: Table, counts: Counts, fields: dict[str, str]) -> None:
    """Correct a merged section `commandstats`."""
    costs = {name: _cost(fields.pop(CALLS + name)) for name in _own(table, fields, CALLS)}
    for name, count in counts.commands.items():
        command = table.get(name)
        if command is not None and is_own(command) and counts.calls(name):
            fields[CALLS + name] = _called(count, costs.get(name, 0.0))


def times_correct(table: Table, counts: Counts, fields: dict[str, str]) -> None:
    """Correct a merged section `latencystats`."""
    for name in list(_own(table, fields, TIMES)):
        if not counts.calls(name):
            del fields[TIMES + name]


def _own(table: Table, fields: dict[str, str], prefix: str) -> Iterator[str]:
    """The commands among the fields that nodes know from the proxy alone."""
    for field in list(fields):
        command = table.get(field.removeprefix(prefix))
        if command is not None and is_own(command):
            yield command.name


def _cost(value: str) -> float:
    """Microseconds a call takes."""
    return float(dict(part.partition("=")[::2] for part in value.split(",")).get("usec_per_call", "0"))


def _called(count: CommandStatistics, cost: float) -> str:
    calls = count.ok + count.error
    return (
        f"calls={calls},usec={calls * cost:.0f},usec_per_call={cost:.2f},"
        f"rejected_calls=0,failed_calls={count.error}"
    )
