"""What is asked for, as it stands in a job's note. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from shardproxy.config.slots import format_slots, parse_slots
from shardproxy.failover.setup import ShardSetup
from shardproxy.jobs.wanted import MAX_RATE
from shardproxy.model.replication import ShardKey
from shardproxy.model.slots import Slots

BY = ("keys", "memory", "load")
FIELDS = {"scale": ("shards",), "move": ("moves",), "rebalance": ("by",), "drain": ("shard",)}


class WantsError(Exception):
    """It cannot be understood, or names what is not there."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Spread the slots over so many shards."""

    shards: int


@dataclass(frozen=True, slots=True)
class Send:
    """Have shards own these slots."""

    parts: tuple[tuple[Slots, ShardKey], ...]


@dataclass(frozen=True, slots=True)
class Rebalance:
    """Have the shards that own slots weigh alike."""

    by: str  # one of BY


@dataclass(frozen=True, slots=True)
class Drain:
    """Have a shard own nothing."""

    shard: ShardKey


@dataclass(frozen=True, slots=True)
class Wants:
    """`rate`: bytes a second of the first copy; `slots_per_step`: moved at once. 0 = no limit."""

    what: Scale | Send | Rebalance | Drain
    rate: int = 0
    slots_per_step: int = 0


def wants_read(wants: Mapping[str, Any], setups: Mapping[ShardKey, ShardSetup]) -> Wants:
    """Read `{"do": "scale", "shards": 3}` and the like; raise WantsError."""
    return Wants(
        _what(wants, setups.values()),
        rate=_number(wants, "rate", default=0),
        slots_per_step=_number(wants, "slots_per_step", default=0),
    )


def wants_check(wants: Mapping[str, Any]) -> dict[str, Any]:
    """The same, every field known and of its kind, the names of shards aside; raise WantsError."""
    do = wants.get("do")
    if not isinstance(do, str) or do not in FIELDS:
        raise WantsError(f"do is scale, move, rebalance or drain, not {do!r:.40}")
    if unknown := sorted(set(wants) - {"do", "rate", "slots_per_step", *FIELDS[do]}):
        raise WantsError(f"{do} knows no {unknown[0]!r:.40}")
    limits = {name: _number(wants, name, default=0) for name in ("rate", "slots_per_step")}
    if (rate := limits["rate"]) > MAX_RATE:
        raise WantsError(f"rate is {MAX_RATE} bytes a second at most, not {rate:.2e}")
    checked: dict[str, Any] = {"do": do, **limits}
    match do:
        case "scale":
            checked["shards"] = _number(wants, "shards")
        case "move":
            checked["moves"] = [_part_text(part) for part in _parts(wants)]
        case "rebalance":
            if (by := wants.get("by", "keys")) not in BY:
                raise WantsError(f"rebalance by {by!r:.40}: it is one of {', '.join(BY)}")
            checked["by"] = by
        case "drain":
            if not isinstance(shard := wants.get("shard"), str):
                raise WantsError("shard is the name or number of one")
            checked["shard"] = shard
    return checked


def _part_text(text: object) -> str:
    if not isinstance(text, str):
        raise WantsError("moves is a list of texts like 0-1000:SHARD")
    slots, colon, _ = text.partition(":")
    if not colon:
        raise WantsError(f"{text:.100}: expected SLOTS:SHARD, as in 0-1000:b")
    try:
        parse_slots(slots)
    except ValueError as error:
        raise WantsError(f"{text:.100}: {error}") from error
    return text


def _what(wants: Mapping[str, Any], setups: Iterable[ShardSetup]) -> Scale | Send | Rebalance | Drain:
    match wants.get("do"):
        case "scale":
            return Scale(_number(wants, "shards"))
        case "move":
            return Send(tuple(_part(part, setups) for part in _parts(wants)))
        case "rebalance":
            if (by := wants.get("by", "keys")) not in BY:
                raise WantsError(f"rebalance by {by!r}: it is one of {', '.join(BY)}")
            return Rebalance(str(by))
        case "drain":
            return Drain(shard_named(str(wants.get("shard")), setups))
    raise WantsError(f"do is scale, move, rebalance or drain, not {wants.get('do')!r}")


def _parts(wants: Mapping[str, Any]) -> list[Any]:
    parts = wants.get("moves")
    if not isinstance(parts, list) or not parts:
        raise WantsError("moves is a list of texts like 0-1000:SHARD")
    return parts


def _part(text: object, setups: Iterable[ShardSetup]) -> tuple[Slots, ShardKey]:
    slots, colon, shard = str(text).partition(":")
    if not colon:
        raise WantsError(f"{text!s:.100}: expected SLOTS:SHARD, as in 0-1000:b")
    try:
        return parse_slots(slots), shard_named(shard, setups)
    except ValueError as error:
        raise WantsError(f"{text!s:.100}: {error}") from error


def shard_named(text: str, setups: Iterable[ShardSetup]) -> ShardKey:
    """The shard of that name or number; raise WantsError that lists those there are."""
    known = list(setups)
    for setup in known:
        if text == setup.name:
            return setup.key
    for setup in known:
        if text == str(setup.key.index):
            return setup.key
    there = ", ".join(setup.name or str(setup.key.index) for setup in known)
    raise WantsError(f"no shard {text!r:.100}; there is: {there}")


def _number(wants: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = wants.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise WantsError(f"{name} is a whole number, not {value!r:.40}")
    return value


def wants_text(wants: Wants, label: Mapping[ShardKey, str]) -> str:
    """What is asked for, in a line."""
    match wants.what:
        case Scale(shards):
            return f"{shards} shards"
        case Send(parts):
            return ", ".join(f"slots {format_slots(slots)} to {label[shard]}" for slots, shard in parts)
        case Rebalance(by):
            return f"shards alike by {by}"
        case Drain(shard):
            return f"nothing on {label[shard]}"
