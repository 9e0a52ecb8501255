"""The object of a cluster: who leads it, and its records. Pure.

    leader   {"member", "uid" of its heartbeat, "turn": how many have led so far}; member null = nobody does
    shards   index -> record, with its revision
    revision of the last change

The leader and its records are one object, so whoever writes a record writes it over what they have read:
nobody can have led in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from shardproxy.model.replication import ShardKey
from shardproxy.store.cas import record_replace
from shardproxy.store.codec import record_decode, record_encode
from shardproxy.store.interface import LeadershipLostError, StoreError
from shardproxy.store.kubernetes.objects import DAMAGED, Body, DamagedError, Stored
from shardproxy.store.record import ShardRecord


class TakenError(StoreError):
    """Another member leads the cluster."""


@dataclass(frozen=True, slots=True)
class Leader:
    """Who leads a cluster, as its object says."""

    member: str | None
    uid: str  # of the leader's heartbeat: its life, not its name, is what counts
    turn: int

    @classmethod
    def of_stored(cls, stored: Stored) -> Leader:
        """Raise DamagedError."""
        try:
            return cls.of(stored.body)
        except DAMAGED as error:
            raise DamagedError(stored.name, error) from error

    @classmethod
    def of(cls, body: Body | None) -> Leader:
        leader = body.get("leader") if body is not None else None
        if leader is None:
            return cls(None, "", 0)
        member = leader["member"]
        return cls(str(member) if member is not None else None, str(leader["uid"]), int(leader["turn"]))

    def encode(self) -> dict[str, Any]:
        return {"member": self.member, "uid": self.uid, "turn": self.turn}


def led(
    body: Body | None, cluster: str, member: str, uid: str, is_dead: Callable[[str], bool], *, after: int = 0
) -> tuple[Body, int]:
    """The object with that member as its leader, and its turn; raise TakenError while another one lives.

    The revisions of a new one begin `after` those that were.
    """
    leader = Leader.of(body)
    if leader.member is not None and leader.uid != uid and not is_dead(leader.uid):
        raise TakenError(f"{leader.member} leads {cluster}")
    turn = leader.turn + 1
    kept = body if body is not None else {"cluster": cluster, "revision": after, "shards": {}}
    return {**kept, "leader": Leader(member, uid, turn).encode()}, turn


def resigned(body: Body | None, uid: str, turn: int) -> tuple[Body | None, None]:
    """The object with nobody as its leader; as it is where that one does not lead."""
    leader = Leader.of(body)
    if body is None or (leader.uid, leader.turn) != (uid, turn):
        return body, None
    return {**body, "leader": Leader(None, "", turn).encode()}, None


def with_records(
    body: Body | None, records: Sequence[ShardRecord], uid: str, turn: int
) -> tuple[Body, tuple[ShardRecord, ...]]:
    """The object with those records, at one revision; raise LeadershipLostError or ConflictError."""
    leader = Leader.of(body)
    if body is None or (leader.uid, leader.turn) != (uid, turn):
        cluster = records[0].key.cluster
        raise LeadershipLostError(
            f"{leader.member or 'nobody'} leads {cluster}, in turn {leader.turn}; ours was {turn}"
        )
    revision = int(body["revision"]) + 1
    stored = tuple(record_replace(_record(body, one.key), one, revision) for one in records)
    values = {str(one.key.index): {"revision": revision, **record_encode(one)} for one in stored}
    return {**body, "revision": revision, "shards": {**body["shards"], **values}}, stored


def _record(body: Body, key: ShardKey) -> ShardRecord | None:
    values = body["shards"].get(str(key.index))
    return record_decode(values, int(values["revision"])) if values is not None else None
