"""How far a job of moves is, as its next leader has to know. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from shardproxy.config.slots import format_slots, parse_slots
from shardproxy.model.replication import ShardKey
from shardproxy.reshard.layout import Move


class Step(enum.Enum):
    """Of one move. FENCE and PUBLISH are short, and a new leader tells them apart by the records."""

    PLAN = "plan"
    CLEAN_TARGET = "clean_target"  # both shards hide what is not theirs; what the target has goes
    COPY = "copy"
    CATCH_UP = "catch_up"  # all is compared while clients write
    FENCE = "fence"
    PUBLISH = "publish"
    CLEAN_SOURCE = "clean_source"  # the target owns the slots: nothing leads back
    UNDO = "undo"  # given up before PUBLISH: the target's copies go
    DONE = "done"
    UNDONE = "undone"

    @property
    def is_over(self) -> bool:
        return self in (Step.DONE, Step.UNDONE)


NEXT = {
    Step.PLAN: (Step.CLEAN_TARGET, Step.UNDO),
    Step.CLEAN_TARGET: (Step.COPY, Step.UNDO),
    Step.COPY: (Step.CATCH_UP, Step.CLEAN_TARGET, Step.UNDO),
    Step.CATCH_UP: (Step.FENCE, Step.CLEAN_TARGET, Step.UNDO),
    Step.FENCE: (Step.PUBLISH, Step.CATCH_UP, Step.CLEAN_TARGET, Step.UNDO),
    Step.PUBLISH: (Step.CLEAN_SOURCE,),
    Step.CLEAN_SOURCE: (Step.DONE,),
    Step.UNDO: (Step.UNDONE,),
    Step.DONE: (),
    Step.UNDONE: (),
}


class StepError(Exception):
    """A step does not follow from another one."""


@dataclass(frozen=True, slots=True)
class Leg:
    """One move and how far it is."""

    move: Move
    step: Step = Step.PLAN
    why: str = ""  # it is undone, or what of it is left
    mixed_before: tuple[ShardKey, ...] = ()  # shards that had leftovers of others when it began: they go too
    keys: int = 0  # copied
    bytes: int = 0
    pause: float = 0.0  # seconds that requests for the slots waited, at the fence that held
    tries: int = 0  # fences
    removed: int = 0  # keys taken away at the source

    def at(self, step: Step, **changes: Any) -> Leg:
        """The same one a step on; raise StepError where that does not follow."""
        if step not in NEXT[self.step]:
            raise StepError(f"{step.value} does not follow {self.step.value}")
        return replace(self, step=step, **changes)

    def taken_up(self, *, is_published: bool) -> Leg:
        """Where the next leader goes on: the records say who owns the slots, whatever was written last."""
        if self.step in (Step.UNDO, Step.CLEAN_SOURCE) or self.step.is_over:
            return self
        if is_published:
            return replace(self, step=Step.CLEAN_SOURCE)
        # What was copied stays, and is copied again: changes since then are known to nobody.
        return self if self.step is Step.PLAN else replace(self, step=Step.CLEAN_TARGET)


@dataclass(frozen=True, slots=True)
class Memo:
    """The legs in their order."""

    legs: tuple[Leg, ...]

    @property
    def current(self) -> int | None:
        """The first that is not over."""
        return next((place for place, leg in enumerate(self.legs) if not leg.step.is_over), None)

    def with_leg(self, place: int, leg: Leg) -> Memo:
        return Memo((*self.legs[:place], leg, *self.legs[place + 1 :]))

    def write(self) -> dict[str, Any]:
        return {"legs": [_leg_write(leg) for leg in self.legs]}

    @classmethod
    def read(cls, cluster: str, memo: Mapping[str, Any]) -> Memo:
        """Read what `write` made."""
        return cls(tuple(_leg_read(cluster, leg) for leg in memo["legs"]))


def _leg_write(leg: Leg) -> dict[str, Any]:
    return {
        "from": leg.move.source.index,
        "to": leg.move.target.index,
        "slots": format_slots(leg.move.slots),
        "step": leg.step.value,
        "why": leg.why,
        "mixed_before": [key.index for key in leg.mixed_before],
        "keys": leg.keys,
        "bytes": leg.bytes,
        "pause": leg.pause,
        "tries": leg.tries,
        "removed": leg.removed,
    }


def _leg_read(cluster: str, leg: Mapping[str, Any]) -> Leg:
    return Leg(
        Move(
            ShardKey(cluster, int(leg["from"])), ShardKey(cluster, int(leg["to"])), parse_slots(leg["slots"])
        ),
        Step(leg["step"]),
        why=str(leg["why"]),
        mixed_before=tuple(ShardKey(cluster, int(index)) for index in leg["mixed_before"]),
        keys=int(leg["keys"]),
        bytes=int(leg["bytes"]),
        pause=float(leg["pause"]),
        tries=int(leg["tries"]),
        removed=int(leg["removed"]),
    )
