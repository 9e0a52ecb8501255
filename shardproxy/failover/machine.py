"""The steps of a failover and of a switchover, as a table. Pure: who walks it is runner.py.

    failover    CLAIM > FENCE > WAIT > CHOOSE > PROMOTE > PUBLISH > HEAL > DONE
                        ^ too few ┘      │ │       └ failed: back to CLAIM
                        └─── nobody fit ─┘ └ RELAY, then CLAIM: who is fit lacks what another node has
    switchover  CLAIM > PARK > HANDOVER > PUBLISH > HEAL > DONE      (unclear: a failover from CLAIM on)
    hold        CLAIM > FENCE > WAIT > FENCE > ...                   (until a failover is allowed)

A promotion that failed may have happened all the same, and only another epoch may promote another node. So a
relay, in which a node that nobody may serve from is made a primary for its replicas alone, has an epoch of
its own. STOPPED: somebody else leads, or the store is down. The record says how far it came; whoever leads
resumes.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from shardproxy.failover.election import Candidate
from shardproxy.model import Address
from shardproxy.model.replication import Lineage
from shardproxy.store.record import Flapping, ShardRecord


class Step(enum.Enum):
    CLAIM = "claim"
    FENCE = "fence"
    WAIT = "wait"
    CHOOSE = "choose"
    RELAY = "relay"
    PROMOTE = "promote"
    PARK = "park"
    HANDOVER = "handover"
    PUBLISH = "publish"
    HEAL = "heal"
    DONE = "done"
    STOPPED = "stopped"


class Kind(enum.Enum):
    FAILOVER = "failover"
    SWITCHOVER = "switchover"
    HOLD = "hold"  # keep what the replicas have until somebody may be promoted


@dataclass(frozen=True, slots=True)
class Claimed:
    """The store has the next epoch, without a primary."""

    record: ShardRecord


@dataclass(frozen=True, slots=True)
class ClaimedSwitchover:
    """The same, bound to a target from the start."""

    record: ShardRecord


@dataclass(frozen=True, slots=True)
class Lost:
    """Nothing more may be changed by us now."""

    why: str


@dataclass(frozen=True, slots=True)
class Fenced:
    """Every node was told to freeze; these have."""

    candidates: tuple[Candidate, ...]
    why_not_acknowledged: str | None = None  # by the data plane


@dataclass(frozen=True, slots=True)
class Enough:
    """No acknowledged write can be missing from all of the frozen nodes."""


@dataclass(frozen=True, slots=True)
class TooFew:
    why: str


@dataclass(frozen=True, slots=True)
class Held:
    """Nobody may be promoted now."""

    why: str


@dataclass(frozen=True, slots=True)
class Chosen:
    target: Address


@dataclass(frozen=True, slots=True)
class Behind:
    """The target lacks what the source has, and the source may not be the primary."""

    source: Address
    target: Address


@dataclass(frozen=True, slots=True)
class Relayed:
    """The target has all that the source has."""

    record: ShardRecord


@dataclass(frozen=True, slots=True)
class RelayFailed:
    why: str
    record: ShardRecord


@dataclass(frozen=True, slots=True)
class NobodyElectable:
    why: str


@dataclass(frozen=True, slots=True)
class Promoted:
    """ROLE says primary."""

    record: ShardRecord
    lineage: Lineage
    run_id: str


@dataclass(frozen=True, slots=True)
class PromotionFailed:
    """It may have been carried out all the same."""

    why: str
    record: ShardRecord


@dataclass(frozen=True, slots=True)
class Parked:
    """Nothing is in flight."""


@dataclass(frozen=True, slots=True)
class HandedOver:
    lineage: Lineage
    run_id: str


@dataclass(frozen=True, slots=True)
class HandoverRefused:
    """The primary is what it was."""

    why: str


@dataclass(frozen=True, slots=True)
class HandoverUnclear:
    """Neither is known to be the primary."""

    why: str


@dataclass(frozen=True, slots=True)
class Published:
    record: ShardRecord


@dataclass(frozen=True, slots=True)
class Healed:
    pass


Event = (
    Claimed
    | ClaimedSwitchover
    | Lost
    | Fenced
    | Enough
    | TooFew
    | Held
    | Chosen
    | Behind
    | Relayed
    | RelayFailed
    | NobodyElectable
    | Promoted
    | PromotionFailed
    | Parked
    | HandedOver
    | HandoverRefused
    | HandoverUnclear
    | Published
    | Healed
)

TRANSITIONS: dict[tuple[Step, type[Event]], Step] = {
    (Step.CLAIM, Claimed): Step.FENCE,
    (Step.CLAIM, ClaimedSwitchover): Step.PARK,
    (Step.CLAIM, Lost): Step.STOPPED,
    (Step.FENCE, Fenced): Step.WAIT,
    (Step.FENCE, Lost): Step.STOPPED,
    (Step.WAIT, Enough): Step.CHOOSE,
    (Step.WAIT, TooFew): Step.FENCE,
    (Step.WAIT, Held): Step.FENCE,
    (Step.CHOOSE, Chosen): Step.PROMOTE,
    (Step.CHOOSE, Behind): Step.RELAY,
    (Step.CHOOSE, NobodyElectable): Step.FENCE,
    (Step.RELAY, Relayed): Step.CLAIM,
    (Step.RELAY, RelayFailed): Step.CLAIM,
    (Step.RELAY, Lost): Step.STOPPED,
    (Step.PROMOTE, Promoted): Step.PUBLISH,
    (Step.PROMOTE, PromotionFailed): Step.CLAIM,
    (Step.PROMOTE, Lost): Step.STOPPED,
    (Step.PARK, Parked): Step.HANDOVER,
    (Step.PARK, HandoverRefused): Step.PUBLISH,
    (Step.PARK, Lost): Step.STOPPED,
    (Step.HANDOVER, HandedOver): Step.PUBLISH,
    (Step.HANDOVER, HandoverRefused): Step.PUBLISH,
    (Step.HANDOVER, HandoverUnclear): Step.CLAIM,
    (Step.HANDOVER, Lost): Step.STOPPED,
    (Step.PUBLISH, Published): Step.HEAL,
    (Step.PUBLISH, Lost): Step.STOPPED,
    (Step.HEAL, Healed): Step.DONE,
    (Step.HEAL, Lost): Step.STOPPED,
}


class TransitionError(Exception):
    """An event that cannot follow; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Run:
    """One failover or switchover under way."""

    kind: Kind
    record: ShardRecord
    reason: str
    started_at: float  # trio time
    step: Step = Step.CLAIM
    candidates: tuple[Candidate, ...] = ()
    why_not_acknowledged: str | None = None
    target: Address | None = None  # a switchover's from the start
    trusted: Address | None = None  # chosen already, by an operator or as the first primary ever
    must_have_data: bool = False  # the trusted one, if others have any
    source: Address | None = None  # whom the target syncs from first
    floor: int = 0  # an offset the primary had passed long before it was lost
    backs_off: Flapping | None = None  # what the next automatic failover has to wait for after this one
    may_touch: bool = True  # nodes may be sent commands; without, only the proxies are fenced
    other_name: str = ""  # how else the last primary's history is called
    primary: Address | None = None  # the outcome
    lineage: Lineage | None = None
    run_id: str = ""
    setback: str = ""  # why the last step had to be redone, or was refused

    @property
    def is_over(self) -> bool:
        return self.step in (Step.DONE, Step.STOPPED)


def advance(run: Run, event: Event) -> Run:
    """Take the step that follows; raise TransitionError for an event that cannot happen here."""
    step = TRANSITIONS.get((run.step, type(event)))
    if step is None:
        raise TransitionError(f"{run.record.key}: {type(event).__name__} cannot follow in {run.step.value}")
    run = replace(run, step=step)
    match event:
        case Claimed(record) | ClaimedSwitchover(record):
            return replace(run, record=record)
        case Fenced(candidates, why_not):
            return replace(run, candidates=candidates, why_not_acknowledged=why_not)
        case Chosen(target):
            return replace(run, target=target)
        case Behind(source, target):
            return replace(run, source=source, target=target)
        case Relayed(record):
            return replace(run, record=record, target=None, source=None, candidates=())
        case Promoted(record, lineage, run_id):
            return replace(run, record=record, primary=record.target, lineage=lineage, run_id=run_id)
        case PromotionFailed(why, record) | RelayFailed(why, record):
            return replace(run, record=record, target=None, source=None, candidates=(), setback=why)
        case HandoverUnclear(why):
            return replace(run, kind=Kind.FAILOVER, target=None, candidates=(), setback=why)
        case HandedOver(lineage, run_id):
            return replace(run, primary=run.target, lineage=lineage, run_id=run_id)
        case HandoverRefused(why):
            record = run.record
            return replace(
                run, primary=record.last, lineage=record.lineage, run_id=record.run_id, setback=why
            )
        case TooFew(why) | Held(why) | NobodyElectable(why) | Lost(why):
            return replace(run, setback=why)
        case Published(record):
            return replace(run, record=record)
        case Enough() | Parked() | Healed():
            return run
