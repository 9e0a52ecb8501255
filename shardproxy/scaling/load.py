"""How busy and how full a primary is, by what INFO says twice. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from shardproxy.health.vitals import CPU


@dataclass(frozen=True, slots=True)
class Reading:
    """One primary's counters at one moment."""

    run_id: str
    at: float  # seconds, of a clock that only goes forward
    cpu: float  # seconds of CPU since its start
    used: int  # bytes
    most: int  # maxmemory; 0 = none


@dataclass(frozen=True, slots=True)
class Load:
    """Parts of 1; None = not known."""

    cpu: float | None = None
    memory: float | None = None


def reading(run_id: str, fields: Mapping[str, str], at: float) -> Reading | None:
    """None for what does not look like INFO of cpu and memory."""
    try:
        names = next((names for names in CPU if names[0] in fields), CPU[-1])
        cpu = sum(float(fields[name]) for name in names)
        return Reading(run_id, at, cpu, int(fields["used_memory"]), int(fields.get("maxmemory", "0")))
    except (KeyError, ValueError):
        return None


def load_of(before: Reading | None, now: Reading) -> Load:
    """CPU only of the same process, some time later."""
    cpu = None
    if before is not None and before.run_id == now.run_id and now.at > before.at:
        cpu = max(0.0, now.cpu - before.cpu) / (now.at - before.at)
    return Load(cpu, now.used / now.most if now.most else None)


def load_average(loads: Iterable[Load]) -> Load:
    """Of all shards; unknown where it is of any."""
    found = list(loads)

    def average(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known and len(known) == len(values) else None

    return Load(average([load.cpu for load in found]), average([load.memory for load in found]))
