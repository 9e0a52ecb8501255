"""Who leads a cluster: claimed over nobody or over the dead, kept as long as our heartbeat, given back.

claim ─> is the leader's heartbeat there? ─ yes ─> wait for news
                    │ no (asked of the server, not of what we saw)
                    v
         PUT of the cluster's object, as it was read: 409 = somebody else was first
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog
import trio

from shardproxy.store.interface import (
    ConflictError,
    LeadershipLostError,
    StoreError,
    StoreUnavailableError,
    together_check,
)
from shardproxy.store.kubernetes.errors import NotFoundError
from shardproxy.store.kubernetes.life import Life
from shardproxy.store.kubernetes.names import Kind
from shardproxy.store.kubernetes.objects import Body, DamagedError, Stored, stored_of
from shardproxy.store.kubernetes.shards import Leader, TakenError, led, resigned, with_records
from shardproxy.store.kubernetes.shared import Shared
from shardproxy.store.kubernetes.writer import collection_of
from shardproxy.store.record import ShardRecord

log = structlog.get_logger()

RENEW = 1.0  # seconds between renewals, which followers wait for
LOOK = 1.0  # seconds after which one who waits looks again, news or not
MARGIN = 0.02  # of the ttl: no two clocks run alike


@dataclass(slots=True, eq=False)
class KubernetesLeadership:
    """Holds as long as our heartbeat does, or until we claim again or resign."""

    cluster: str
    revision: int
    uid: str
    _leading: Leading = field(repr=False)
    is_void: bool = False

    def covers(self, seconds: float) -> bool:
        life = self._leading.life
        margin = MARGIN * life.pulse.ttl
        return not self.is_void and life.uid == self.uid and life.is_alive(seconds + margin)

    async def resign(self) -> None:
        await self._leading.resign(self)


class Leading:
    """Claims, and what is written with them."""

    def __init__(self, shared: Shared, life: Life) -> None:
        self._shared = shared
        self.life = life
        self._held: dict[str, KubernetesLeadership] = {}
        self._claimed = trio.Event()
        self._dead: set[str] = set()  # uids of heartbeats that the server said are not there

    async def claim(self, cluster: str) -> KubernetesLeadership:
        """Wait until we lead; raise StoreUnavailableError."""
        while True:
            changed = self._shared.mirror.changed
            if (uid := self.life.uid) is None or not self.life.is_alive():
                raise StoreUnavailableError("Kubernetes: the API server is not reached: nobody is led")
            if await self._is_free(cluster):
                try:
                    return await self._take(cluster, uid)
                except TakenError:
                    pass  # somebody was faster
            with trio.move_on_after(LOOK):
                await changed.wait()

    async def put_all(
        self, records: Sequence[ShardRecord], leadership: KubernetesLeadership
    ) -> tuple[ShardRecord, ...]:
        """Raise ConflictError, LeadershipLostError or StoreUnavailableError."""
        cluster = together_check(records)
        if self._held.get(cluster) is not leadership:
            raise LeadershipLostError(f"turn {leadership.revision} of {leadership.cluster} is over")

        def put(body: Body | None) -> tuple[Body, tuple[ShardRecord, ...]]:
            for record in records:
                shown = self._shared.boards.records.get(record.key)
                if shown is not None and record.epoch < shown.epoch:
                    raise ConflictError(f"{record.key}: epoch {record.epoch} after {shown.epoch}")
            return with_records(body, records, leadership.uid, leadership.revision)

        name, mirror = self._shared.names.cluster(cluster), self._shared.mirror
        try:
            stored = await self._shared.writer(name, Kind.CLUSTER).change(put)
        except LeadershipLostError:
            self._void(leadership)
            raise
        except ValueError as error:
            raise StoreUnavailableError(f"Kubernetes: {error}") from error
        # Who was a member before it was written is shown then: whoever comes later begins with it.
        written = mirror.get(name)
        with trio.move_on_after(self._shared.times.write) as scope:
            await mirror.wait_complete(written.version if written is not None else mirror.version)
        if scope.cancelled_caught:
            raise StoreUnavailableError(
                f"Kubernetes: {records[0].key} is written, and the watch does not show it"
            )
        return stored

    async def resign(self, leadership: KubernetesLeadership) -> None:
        self._void(leadership)

        def resign(body: Body | None) -> tuple[Body | None, None]:
            return resigned(body, leadership.uid, leadership.revision)

        name = self._shared.names.cluster(leadership.cluster)
        try:
            await self._shared.writer(name, Kind.CLUSTER).change(resign)
        except (StoreError, ValueError) as error:
            log.warning(
                "kubernetes: not resigned, it ends by itself", cluster=leadership.cluster, why=str(error)
            )

    async def leave(self) -> None:
        """Resign everywhere."""
        for leadership in list(self._held.values()):
            await self.resign(leadership)

    def seen(self, stored: Stored | None) -> None:
        """An object is like that now. Somebody else may lead by it, which they cannot by ours."""
        if stored is None or stored.kind is not Kind.CLUSTER or not self._held:
            return
        for leadership in list(self._held.values()):
            if self._shared.names.cluster(leadership.cluster) == stored.name:
                try:
                    leader = Leader.of_stored(stored)
                except DamagedError:  # boards say so
                    return
                if (leader.uid, leader.turn) != (leadership.uid, leadership.revision):
                    self._void(leadership)

    def died(self) -> None:
        """Our heartbeat is gone, and with it all that we led."""
        for leadership in list(self._held.values()):
            self._void(leadership)

    async def renew(self) -> None:
        """Touch what followers watch, for ever."""
        while True:
            with trio.move_on_after(RENEW):
                await self._claimed.wait()
            self._claimed = trio.Event()
            async with trio.open_nursery() as nursery:
                for leadership in list(self._held.values()):
                    if leadership.covers(0):
                        nursery.start_soon(self._renew, leadership)

    async def _renew(self, leadership: KubernetesLeadership) -> None:
        def renewed(body: Body | None) -> tuple[Body, None]:
            count = int(body["renew"]) + 1 if body is not None else 1
            sent = self._shared.clock()  # for who follows to tell how old it is
            values = {"renew": count, "turn": leadership.revision, "sent": sent}
            return {"cluster": leadership.cluster, **values}, None

        def same(body: Body | None) -> tuple[Body | None, None]:
            return body, None

        name, led = (
            self._shared.names.renew(leadership.cluster),
            self._shared.names.cluster(leadership.cluster),
        )
        try:
            if self._shared.mirror.lost(led) is not None:  # put it back
                await self._shared.writer(led, Kind.CLUSTER).change(same)
            await self._shared.writer(name, Kind.RENEW).change(renewed)
        except StoreError as error:
            log.debug("kubernetes: not renewed", cluster=leadership.cluster, why=str(error))

    async def _take(self, cluster: str, uid: str) -> KubernetesLeadership:
        name = self._shared.names.cluster(cluster)

        def take(body: Body | None) -> tuple[Body, int]:
            dead = self._dead.__contains__
            return led(body, cluster, self._shared.member, uid, dead, after=self._last_known(cluster))

        turn = await self._shared.writer(name, Kind.CLUSTER).change(take)
        if (before := self._held.get(cluster)) is not None:
            self._void(before)
        leadership = KubernetesLeadership(cluster, turn, uid, self)
        if self.life.uid != uid:  # declared dead meanwhile
            leadership.is_void = True
        else:
            self._held[cluster] = leadership
            self._claimed.set()
        return leadership

    async def _is_free(self, cluster: str) -> bool:
        """Whether the leader that we see is dead for sure; raise StoreUnavailableError."""
        object_name, mirror = self._shared.names.cluster(cluster), self._shared.mirror
        stored = mirror.get(object_name) or mirror.lost(object_name)
        leader = Leader.of_stored(stored) if stored is not None else Leader.of(None)
        if leader.member is None or leader.uid == self.life.uid or leader.uid in self._dead:
            return True
        if self._shared.boards.is_alive(leader.uid):
            return False
        # It led after its heartbeat was written, and we may not have seen that yet.
        name = self._shared.names.alive(leader.member)
        try:
            found = stored_of(await self._shared.api.get(f"{collection_of(self._shared.api)}/{name}"))
        except NotFoundError:
            pass
        else:
            if found.uid == leader.uid:
                self._shared.mirror.take(found)
                return False
        self._dead.add(leader.uid)
        return True

    def _last_known(self, cluster: str) -> int:
        """No record that anybody has seen of the cluster has changed after this revision."""
        boards = self._shared.boards
        acked = (changed for (_, key), changed in boards.acks.items() if key.cluster == cluster)
        shown = (record.changed for key, record in boards.records.items() if key.cluster == cluster)
        return max([self._shared.mirror.version, *acked, *shown])

    def _void(self, leadership: KubernetesLeadership) -> None:
        leadership.is_void = True
        if self._held.get(leadership.cluster) is leadership:
            del self._held[leadership.cluster]
