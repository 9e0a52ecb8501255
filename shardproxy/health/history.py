"""What is remembered of one node's probe results. Pure values: each result makes a new one.

Holds no list: times and the latest facts are all that judging needs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from shardproxy.health.outcome import ALIVE, Outcome, ProbeResult
from shardproxy.model import Address
from shardproxy.model.health import EngineLimits
from shardproxy.model.replication import Replication, Role, Server

DEAD_REFUSALS = 2  # in a row
LOST_QUESTIONS = 2  # in a row; one may be lost by chance
DEFAULT_PING_PERIOD = 10.0  # seconds; an engine's own repl-ping-replica-period


@dataclass(frozen=True, slots=True)
class History:
    """Times are trio's; `since` is where timers start: the first look, or the last time we were stalled."""

    since: float
    accepted_at: float  # when the shard got its present roles; facts asked for earlier do not count
    last: ProbeResult | None = None
    alive_at: float | None = None
    outcome_since: float = 0.0  # since when results are as the last one
    refusals: int = 0  # in a row; a connection that the node ended just before is one of them
    unreached: int = 0  # questions in a row that not even its host acknowledged
    run_id: str | None = None  # of the process that has the data, as accepted
    server: Server | None = None  # who answers now
    replication: Replication | None = None
    replication_at: float | None = None
    offset_since: float | None = None  # when its present offset was first seen
    role_since: float | None = None  # when the part it plays was first seen
    ping_period: float = DEFAULT_PING_PERIOD
    manager: str | None = None
    surveyed_at: float | None = None  # when it was last asked for that
    named: str = ""  # what our connection to it is called
    peer: str = ""  # the IP address it was last reached at
    announced: Address | None = None
    limits: EngineLimits | None = None  # as it told them last

    @property
    def is_surveyed(self) -> bool:
        return self.surveyed_at is not None

    @property
    def is_restarted(self) -> bool:
        return bool(self.run_id and self.server and self.server.run_id != self.run_id)

    @property
    def is_refusing(self) -> bool:
        """Nothing listens there: its process is dead, whoever could hear it before."""
        return self.refusals >= DEAD_REFUSALS

    @property
    def is_out_of_reach(self) -> bool:
        """Its host is gone, or cut off: whatever its process does, that is not why it is silent."""
        return self.unreached >= LOST_QUESTIONS

    @property
    def is_acting_replica(self) -> bool:
        return self.replication is not None and self.replication.role is Role.REPLICA

    @property
    def heard_at(self) -> float:
        """From when silence is counted."""
        return self.since if self.alive_at is None else max(self.since, self.alive_at)

    def silent_for(self, now: float) -> float:
        """Seconds without a sign of life, counted from `since` at the earliest."""
        return now - self.heard_at


def history_beat(history: History, asked_at: float, at: float) -> History:
    """Add a sign of life that is as the last result and brings no facts."""
    return replace(history, last=ProbeResult(asked_at, at, Outcome.PONG), alive_at=at, unreached=0)


def history_start(now: float) -> History:
    return History(since=now, accepted_at=now)


def history_observe(history: History, result: ProbeResult) -> History:
    """Add a result. Those asked for before `since` come from before a stall and are dropped."""
    if result.asked_at < history.since:
        return history
    is_same = history.last is not None and history.last.outcome is result.outcome
    changes: dict[str, Any] = {
        "last": result,
        "refusals": history.refusals + 1 + result.was_closed if result.outcome is Outcome.REFUSED else 0,
        "unreached": history.unreached + 1 if result.is_unreached else 0,
        "peer": result.peer or history.peer,
    }
    if history.last is None:
        changes["since"] = result.asked_at  # it had no chance to answer before
    if not is_same:
        changes["outcome_since"] = result.at
    if result.outcome in ALIVE:
        changes["alive_at"] = result.at
    if result.ping_period is not None:
        changes["ping_period"] = result.ping_period
    if result.is_surveyed:
        changes |= {"manager": result.manager, "surveyed_at": result.asked_at}
        changes |= {"named": result.named, "announced": result.announced}
        changes["limits"] = result.limits or history.limits
    if result.asked_at >= history.accepted_at:
        changes |= _facts(history, result)
    return replace(history, **changes)


def _facts(history: History, result: ProbeResult) -> dict[str, Any]:
    """What it says of itself, in the roles the shard has now; nothing while it is not known who speaks."""
    if history.server is None and result.server is None:
        return {}
    found: dict[str, Any] = {}
    if result.server is not None:
        found |= {"server": result.server, "run_id": history.run_id or result.server.run_id}
    now, before = result.replication, history.replication
    if now is not None:
        found |= {"replication": now, "replication_at": result.at}
        if before is None or before.offset != now.offset or before.follows != now.follows:
            found["offset_since"] = result.at
        if before is None or before.role is not now.role:
            found["role_since"] = result.at
    return found


def history_restart_timers(history: History, now: float) -> History:
    """Forget what looked bad: we were the ones who did not look. Who was well when last heard of still is."""
    if history.last is not None and history.last.at == history.alive_at:
        return replace(history, since=now, outcome_since=now)
    return replace(history, since=now, refusals=0, unreached=0, last=None, alive_at=None, outcome_since=now)


def history_accept(history: History, now: float, run_id: str | None) -> History:
    """The shard has new roles: take the facts anew, and that process as the one that has the data."""
    return replace(
        history, accepted_at=now, server=None, replication=None, replication_at=None, run_id=run_id
    )
