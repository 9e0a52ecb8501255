"""What is asked of every system, and how much more than the floor it may cost. A table."""

from __future__ import annotations

from dataclasses import dataclass

from shardproxy.model import Engine

SMALL = 32  # bytes of a value
LARGE = 4096
SMALL_KEYS = 10_000
LARGE_KEYS = 2_000  # 8 MiB in all: an engine keeps them without evicting any


@dataclass(frozen=True, slots=True)
class Goal:
    """CPU per request that ours may cost, as a multiple of the echo floor's and of nutcracker's."""

    floor: float | None
    peer: float


@dataclass(frozen=True, slots=True)
class Workload:
    """One setting of the load generator. `request` is its --workload."""

    name: str
    request: str
    connections: int
    pipeline: int = 1
    rate: int | None = None  # requests per second; None: as fast as replies come
    default_for: tuple[Engine, ...] = ()
    unfit: tuple[str, ...] = ()  # systems that cannot be asked it

    @property
    def value_size(self) -> int:
        return LARGE if self.request.endswith("4k") else SMALL

    @property
    def keys(self) -> int:
        return LARGE_KEYS if self.value_size == LARGE else SMALL_KEYS

    @property
    def serves(self) -> tuple[Engine, ...]:
        """The engines it can be asked of."""
        return (Engine.REDIS,) if self.request in ("multi5", "set5") else (Engine.REDIS, Engine.MEMCACHED)

    def describe(self) -> str:
        pace = f", {self.rate} requests/s" if self.rate else ""
        depth = f", pipeline {self.pipeline}" if self.pipeline > 1 else ""
        plural = "s" if self.connections > 1 else ""
        return f"{TITLES[self.request]}, {self.connections} connection{plural}{depth}{pace}"


TITLES = {
    "get": "get",
    "set": "set",
    "get4k": "get of 4 KiB",
    "set4k": "set of 4 KiB",
    "mget10": "get of 10 keys",
    "multi5": "MULTI, 5 SETs, EXEC",
    "set5": "5 SETs in a pipeline",
}

BOTH = (Engine.REDIS, Engine.MEMCACHED)
REDIS = (Engine.REDIS,)
MEMCACHED = (Engine.MEMCACHED,)

WORKLOADS = (
    Workload("get50", "get", 50, default_for=BOTH),
    Workload("set50", "set", 50, default_for=BOTH),
    Workload("get50p16", "get", 50, 16, default_for=REDIS),
    Workload("set50p16", "set", 50, 16, default_for=REDIS),
    Workload("get500", "get", 500, default_for=REDIS),
    Workload("set500", "set", 500, default_for=REDIS),
    Workload("get1", "get", 1, default_for=REDIS),
    Workload("set1", "set", 1, default_for=REDIS),
    Workload("get4k", "get4k", 50, default_for=BOTH),
    Workload("set4k", "set4k", 50, default_for=BOTH),
    Workload("mget10", "mget10", 50, default_for=BOTH),
    Workload("mget10p16", "mget10", 50, 16, default_for=MEMCACHED),
    Workload("get20k", "get", 50, rate=20_000, default_for=REDIS),  # latency at equal load
    Workload("set5", "set5", 50, default_for=REDIS),
    Workload(
        "multi5", "multi5", 50, default_for=REDIS, unfit=("nutcracker", "haproxy-tls")
    ),  # it knows no MULTI
)

GOALS = {
    Engine.REDIS: {
        "get50": Goal(1.35, 0.70),
        "set50": Goal(1.35, 0.70),
        "get50p16": Goal(1.75, 0.28),
        "set50p16": Goal(1.75, 0.28),
        "get500": Goal(1.15, 0.62),
        "set500": Goal(1.15, 0.62),
    },
    Engine.MEMCACHED: {name: Goal(None, 0.6) for name in ("get50", "set50", "mget10", "mget10p16")},
}


def choose(engine: Engine, names: tuple[str, ...] | None) -> tuple[Workload, ...]:
    """The workloads of that name that suit the engine, or its default ones."""
    if names is None:
        return tuple(w for w in WORKLOADS if engine in w.default_for)
    return tuple(w for w in WORKLOADS if w.name in names and engine in w.serves)
