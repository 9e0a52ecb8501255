"""How full and how busy the shards of a cluster are, as frozen values and as JSON. Pure.

INFO of each primary, read twice ─> Reading, Reading ─> ShardFigures
what this proxy counted meanwhile ────────────────────> ClusterFigures
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from shardproxy.model import SlotRange
from shardproxy.model.slots import Slots

CPU = (("used_cpu_user_main_thread", "used_cpu_sys_main_thread"), ("used_cpu_user", "used_cpu_sys"))
_DATABASE = re.compile(r"db\d+")
_KEYS = re.compile(r"keys=(\d+)")


@dataclass(frozen=True, slots=True)
class Reading:
    """What one primary's INFO said at one moment. Counters are since its start."""

    at: float  # seconds, of a clock that only goes forward
    run_id: str = ""
    keys: int = 0
    used: int = 0  # bytes
    startup: int = 0  # bytes of these that it had without data
    maxmemory: int = 0  # bytes; 0 = none
    policy: str = "noeviction"
    evicted: int = 0
    commands: int = 0
    cpu: float = 0.0  # seconds of the thread that runs commands
    received: int = 0  # bytes
    sent: int = 0


def reading(fields: Mapping[str, str], at: float) -> Reading:
    """Read INFO; what it does not tell is 0."""
    cpu = next((names for names in CPU if names[0] in fields), CPU[-1])
    return Reading(
        at,
        fields.get("run_id", ""),
        keys=_keys(fields),
        used=_number(fields, "used_memory"),
        startup=_number(fields, "used_memory_startup"),
        maxmemory=_number(fields, "maxmemory"),
        policy=fields.get("maxmemory_policy", "noeviction"),
        evicted=_number(fields, "evicted_keys"),
        commands=_number(fields, "total_commands_processed"),
        cpu=sum(_seconds(fields, name) for name in cpu),
        received=_number(fields, "total_net_input_bytes"),
        sent=_number(fields, "total_net_output_bytes"),
    )


def _keys(fields: Mapping[str, str]) -> int:
    """Of all databases: `db0:keys=12,expires=3`."""
    counts = (_KEYS.match(text) for name, text in fields.items() if _DATABASE.fullmatch(name))
    return sum(int(found[1]) for found in counts if found is not None)


def _number(fields: Mapping[str, str], name: str) -> int:
    text = fields.get(name, "0")
    return int(text) if text.isascii() and text.isdigit() else 0


def _seconds(fields: Mapping[str, str], name: str) -> float:
    try:
        return float(fields.get(name, "0"))
    except ValueError:
        return 0.0


@dataclass(frozen=True, slots=True)
class Weights:
    """A sample of a shard's keys: what each slot has of them."""

    keys: int = 0  # looked at
    per_slot: Mapping[int, int] = field(default_factory=dict)  # keys
    bytes_per_slot: Mapping[int, int] = field(default_factory=dict)  # of those that were weighed


@dataclass(frozen=True, slots=True)
class ShardFigures:
    """One shard. What could not be asked is None or 0, and `why_not` says so. Rates are a second's."""

    number: int
    label: str
    slots: Slots = ()
    zones: tuple[str | None, ...] = ()  # of its nodes, the primary's first
    why_not: str | None = None
    keys: int = 0
    used: int = 0  # bytes
    startup: int = 0
    maxmemory: int = 0
    policy: str = "noeviction"
    evicted: int = 0  # since its start
    evicted_rate: float = 0.0
    commands_rate: float = 0.0  # of all clients of the node
    requests_rate: float = 0.0  # through this proxy, to all of its nodes
    bytes_rate: float = 0.0
    cpu: float | None = None  # part of a core
    weights: Weights = field(default_factory=Weights)

    @property
    def replicas(self) -> int:
        return max(0, len(self.zones) - 1)

    @property
    def full(self) -> float | None:
        """Part of maxmemory; None without one."""
        return self.used / self.maxmemory if self.maxmemory else None


@dataclass(frozen=True, slots=True)
class ClusterFigures:
    """One cluster, over some seconds."""

    cluster: str
    engine: str
    seconds: float
    shards: tuple[ShardFigures, ...] = ()
    clients: int = 0
    accepted_rate: float = 0.0  # connections
    requests_rate: float = 0.0
    zone: str | None = None  # the proxy's


@dataclass(frozen=True, slots=True)
class Rates:
    """What grew in a second."""

    commands: float = 0.0
    evicted: float = 0.0
    bytes: float = 0.0
    cpu: float | None = None


def rates_between(before: Reading, now: Reading) -> Rates:
    """Nothing where it is another process, or no time has passed."""
    seconds = now.at - before.at
    if before.run_id != now.run_id or seconds <= 0:
        return Rates()
    return Rates(
        max(0, now.commands - before.commands) / seconds,
        max(0, now.evicted - before.evicted) / seconds,
        max(0, now.received + now.sent - before.received - before.sent) / seconds,
        max(0.0, now.cpu - before.cpu) / seconds,
    )


def figures_document(figures: ClusterFigures) -> dict[str, Any]:
    """As JSON; slots of the weights are keys of objects, and so texts."""
    return {
        **{name: value for name, value in asdict(figures).items() if name not in ("cluster", "shards")},
        "shards": [_shard(shard) for shard in figures.shards],
    }


def _shard(shard: ShardFigures) -> dict[str, Any]:
    weights = shard.weights
    return {
        **{name: value for name, value in asdict(shard).items() if name not in ("slots", "weights")},
        "slots": [str(part) for part in shard.slots],
        "sample": {
            "keys": weights.keys,
            "slots": {
                str(slot): [count, weights.bytes_per_slot.get(slot, 0)]
                for slot, count in sorted(weights.per_slot.items())
            },
        },
    }


def figures_read(document: Mapping[str, Any]) -> tuple[ShardFigures, ...]:
    """The shards of such a document."""
    return tuple(_shard_read(shard) for shard in document["shards"])


def _shard_read(shard: Mapping[str, Any]) -> ShardFigures:
    plain = {
        name: value for name, value in shard.items() if name in _PLAIN and name not in ("slots", "weights")
    }
    sampled = {int(slot): found for slot, found in shard["sample"]["slots"].items()}
    return ShardFigures(
        **{
            **plain,
            "slots": tuple(_range(text) for text in shard["slots"]),
            "zones": tuple(shard["zones"]),
            "weights": Weights(
                shard["sample"]["keys"],
                {slot: count for slot, (count, _) in sampled.items()},
                {slot: size for slot, (_, size) in sampled.items() if size},
            ),
        }
    )


_PLAIN = frozenset(ShardFigures.__slots__)


def _range(text: str) -> SlotRange:
    first, _, last = text.partition("-")
    return SlotRange(int(first), int(last or first))
