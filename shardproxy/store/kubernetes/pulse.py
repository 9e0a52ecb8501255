"""This member's own life in the store: its heartbeat, and until when it counts.

    beat n sent ── answered ──────────> lease: nobody else goes on without us before sent + ttl
               └── seen by our watch ──> synced: all that was changed before it was sent has been seen

A heartbeat that somebody has deleted means that others have gone on: every leadership of ours is void then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import StoreUnavailableError
from shardproxy.store.kubernetes.objects import DAMAGED, Body, Stored
from shardproxy.store.member import Finding, Vote

NEVER = float("-inf")
MAX_BEATS = 64  # that are remembered for their echo


class DeclaredDeadError(StoreUnavailableError):
    """Our heartbeat was deleted: others have gone on without us."""


@dataclass(slots=True)
class Pulse:
    """What the heartbeat says, and what is known of it. Times are CLOCK_BOOTTIME, of sending."""

    member: str
    ttl: float
    acks: dict[ShardKey, int] = field(default_factory=dict)
    votes: dict[ShardKey, Vote] = field(default_factory=dict)
    uid: str | None = None  # of the heartbeat that is ours; None = there is none
    leased: float = NEVER  # when the last beat that counts was sent
    echoed: float = NEVER  # when the last beat that we saw come back was sent
    count: int = 0
    _sent: dict[int, float] = field(default_factory=dict)

    def beat(self, body: Body | None, now: float) -> tuple[Body, None]:
        """The next heartbeat after the stored one, about to be sent; raise DeclaredDeadError without one."""
        if body is None and self.uid is not None:
            raise DeclaredDeadError("others have gone on without this member")
        # No two tries have the same count, so whichever of them lands, it is known when it was sent.
        self.count = max(self.count, _count_of(body) if body is not None else 0) + 1
        self._sent[self.count] = now
        while len(self._sent) > MAX_BEATS:
            del self._sent[next(iter(self._sent))]
        votes = {key: [vote.primary, vote.finding.value, vote.why] for key, vote in self.votes.items()}
        return {
            "beat": self.count,
            "member": self.member,
            "acks": _by_cluster(self.acks),
            "votes": _by_cluster(votes),
        }, None

    def answered(self, heartbeat: Stored) -> None:
        """The heartbeat is in the store like that."""
        if self.uid is None:
            self.uid = heartbeat.uid
        if heartbeat.uid == self.uid:
            self.leased = max(self.leased, self._sent.get(_beat_of(heartbeat), NEVER))

    def echo(self, heartbeat: Stored) -> None:
        """Our watch has shown the heartbeat."""
        if heartbeat.uid == self.uid:
            self.echoed = max(self.echoed, self._sent.get(_beat_of(heartbeat), NEVER))

    def ended(self) -> None:
        """There is no heartbeat of ours any more."""
        self.uid, self.leased, self.echoed = None, NEVER, NEVER
        self._sent.clear()

    @property
    def expires(self) -> float:
        """Until when no member goes on without us."""
        return self.leased + self.ttl


def _beat_of(heartbeat: Stored) -> int:
    """0 = none of ours."""
    try:
        return _count_of(heartbeat.body)
    except ValueError:
        return 0


def _count_of(body: Body) -> int:
    try:
        return int(body["beat"])
    except DAMAGED:
        return 0


def acks_of(body: Body) -> dict[ShardKey, int]:
    """Raise ValueError for what is no heartbeat's."""
    return {key: int(changed) for key, changed in _by_shard(body.get("acks", {})).items()}


def votes_of(body: Body) -> dict[ShardKey, Vote]:
    """Raise ValueError for what is no heartbeat's."""
    try:
        return {
            key: Vote(str(primary), Finding(finding), str(why))
            for key, (primary, finding, why) in _by_shard(body.get("votes", {})).items()
        }
    except TypeError as error:
        raise ValueError(f"not votes: {error}") from error


def _by_cluster(values: Mapping[ShardKey, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        found.setdefault(key.cluster, {})[str(key.index)] = value
    return found


def _by_shard(values: Mapping[str, Mapping[str, Any]]) -> dict[ShardKey, Any]:
    return {
        ShardKey(cluster, int(index)): value
        for cluster, every in values.items()
        for index, value in every.items()
    }
