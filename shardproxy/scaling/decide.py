"""Whether shards are to join, or one is to leave. Pure: knows no clock and no engine.

As ElastiCache's target tracking: out when the average was above its target for three minutes, by as many
shards as bring it back, though no more than a fifth; in, by one, when it was well below for fifteen, and what
is left would be too. One change at a time, and then a rest.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from shardproxy.scaling.load import Load

OUT_AFTER = 180.0  # seconds above
IN_AFTER = 900.0  # seconds below
WELL_BELOW = 0.9  # of the target
A_FIFTH = 0.2  # of the shards, rounded up, join at once
MOST_SAMPLES = 200
GAP = 120.0  # seconds without a sample: what was before says nothing of now


@dataclass(frozen=True, slots=True)
class Rules:
    """As configured; parts of 1 and seconds."""

    min: int
    max: int
    cpu: float | None = None
    memory: float | None = None
    out_cooldown: float = 600.0
    in_cooldown: float = 900.0

    def targets(self, load: Load) -> Iterable[tuple[str, float | None, float]]:
        """What is measured: its name, how it is, its target."""
        if self.cpu is not None:
            yield "cpu", load.cpu, self.cpu
        if self.memory is not None:
            yield "memory", load.memory, self.memory


@dataclass(frozen=True, slots=True)
class Sample:
    at: float
    load: Load


@dataclass(slots=True)
class Samples:
    """The latest, bounded; begins anew after a gap or another number of shards."""

    shards: int = 0
    found: deque[Sample] = field(default_factory=lambda: deque(maxlen=MOST_SAMPLES))

    def add(self, sample: Sample, shards: int) -> None:
        if shards != self.shards or (self.found and sample.at - self.found[-1].at > GAP):
            self.found.clear()
        self.shards = shards
        self.found.append(sample)
        while self.found[0].at < sample.at - IN_AFTER - GAP:
            self.found.popleft()

    def since(self, seconds: float) -> list[Sample] | None:
        """Those of the last so many seconds; None when they do not go back so far."""
        if not self.found or self.found[-1].at - self.found[0].at < seconds:
            return None
        start = self.found[-1].at - seconds
        return [sample for sample in self.found if sample.at >= start]


@dataclass(frozen=True, slots=True)
class Advice:
    """How many shards there should be, and why."""

    shards: int  # that have slots
    wanted: int
    why: str = ""
    waits: float = 0.0  # seconds until it may be done: the last change was not long ago


def decide(rules: Rules, samples: Samples, since_change: float) -> Advice:
    """What to do now. `since_change`: seconds since the last change ended; infinite where there was none."""
    shards = samples.shards
    if not shards:
        return Advice(0, 0)  # nobody is on record yet
    if shards < rules.min:
        why = f"shards: {{min: {rules.min}}}"
        return Advice(shards, rules.min, why, _left(rules.out_cooldown, since_change))
    if shards > rules.max:
        why = f"shards: {{max: {rules.max}}}"
        return Advice(shards, shards - 1, why, _left(rules.in_cooldown, since_change))
    out = _out(rules, samples)
    if out is not None and out.wanted > shards:
        return Advice(shards, out.wanted, out.why, _left(rules.out_cooldown, since_change))
    if out is not None:
        return Advice(shards, shards, f"{out.why}, and shards: {{max: {rules.max}}} are there")
    why_in = _in(rules, samples) if shards > rules.min else None
    if why_in is not None:
        return Advice(shards, shards - 1, why_in, _left(rules.in_cooldown, since_change))
    return Advice(shards, shards)


def _out(rules: Rules, samples: Samples) -> Advice | None:
    """More shards, by the measure that asks for most; None where nothing is above its target."""
    recent = samples.since(OUT_AFTER)
    if recent is None:
        return None
    shards, best = samples.shards, None
    for name, now, target in rules.targets(recent[-1].load):
        values = [_value(rules, name, sample) for sample in recent]
        if now is None or any(value is None or value <= target for value in values):
            continue
        at_once = max(1, math.ceil(shards * A_FIFTH))
        needed = math.ceil(shards * now / target - 1e-9) - shards
        wanted = min(rules.max, shards + min(at_once, max(1, needed)))
        why = f"{name} was above {_percent(target)} for {OUT_AFTER:.0f} s, and is {_percent(now)}"
        if best is None or wanted > best.wanted:
            best = Advice(shards, wanted, why)
    return best


def _in(rules: Rules, samples: Samples) -> str | None:
    """Why a shard may leave; None where one may not: all measures have to say so."""
    recent = samples.since(IN_AFTER)
    if recent is None or samples.shards < 2:
        return None
    said = []
    for name, now, target in rules.targets(recent[-1].load):
        values = [_value(rules, name, sample) for sample in recent]
        known = [value for value in values if value is not None]
        if now is None or len(known) != len(values):
            return None
        then = max(known) * samples.shards / (samples.shards - 1)
        if then >= target * WELL_BELOW:
            return None
        said.append(f"{name} was below {_percent(max(known))} for {IN_AFTER:.0f} s")
    return ", ".join(said)


def _value(rules: Rules, name: str, sample: Sample) -> float | None:
    return next((value for known, value, _ in rules.targets(sample.load) if known == name), None)


def _left(cooldown: float, since_change: float) -> float:
    return max(0.0, cooldown - since_change)


def _percent(part: float) -> str:
    return f"{part * 100:.0f} %"
