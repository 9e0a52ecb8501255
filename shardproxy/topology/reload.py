"""From the clusters that are served to those a config asks for.

The plan is pure; the swap asks the publisher, and takes back what it did when one cluster cannot be served.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shardproxy.dataplane import BoundEndpoint
from shardproxy.dataplane.spec import ClusterSettings
from shardproxy.model import Address, Topology
from shardproxy.topology.publisher import Inbox, Published, Refused, publish, withdraw
from shardproxy.topology.roles import Records, topology_with_roles

MAX_STALE = 10  # tries against topologies that change meanwhile

Clusters = Mapping[str, ClusterSettings]


class ServeError(Exception):
    """A cluster that the data plane cannot serve."""

    def __init__(self, cluster: str, cause: Exception) -> None:
        super().__init__(f"cluster {cluster}: {cause}")
        self.cluster = cluster
        self.cause = cause


@dataclass(frozen=True, slots=True)
class ReloadPlan:
    """What to do, in this order; a cluster in neither list stays as it is."""

    withdraw_first: tuple[str, ...]  # their addresses are wanted by others
    serve: tuple[str, ...]  # new or changed
    withdraw_last: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        return not (self.withdraw_first or self.serve or self.withdraw_last)


def reload_plan(old: Clusters, new: Clusters) -> ReloadPlan:
    """Compare the clusters that are served with those that are asked for."""
    wanted = {address for settings in new.values() for address in _addresses(settings)}
    gone = [name for name in old if name not in new or new[name].config.kind != old[name].config.kind]
    in_the_way = [name for name in gone if name in new or wanted & _addresses(old[name])]
    return ReloadPlan(
        withdraw_first=tuple(in_the_way),
        serve=tuple(name for name in new if name in in_the_way or new[name] != old.get(name)),
        withdraw_last=tuple(name for name in gone if name not in in_the_way),
    )


def topology_wanted(
    name: str, old: ClusterSettings | None, new: ClusterSettings, current: Topology | None, records: Records
) -> Topology:
    """Give the shards as configured if their config changed, else as they are; roles are those on record."""
    configured = topology_with_roles(new.config.topology(name), records, is_watched=current is not None)
    if current is None or old is None:
        return configured
    is_same = old.config.topology(name) == new.config.topology(name)
    return current if is_same else configured.with_epoch(current.epoch)


async def clusters_swap(
    inbox: Inbox,
    board: Mapping[str, Topology],
    old: Clusters,
    new: Clusters,
    reason: str,
    records: Records | None = None,
) -> dict[str, tuple[BoundEndpoint, ...]]:
    """Serve the new clusters instead of the old; return the endpoints of those that changed.

    Raise ServeError when one cannot be served; what was served before then still is.
    """
    plan = reload_plan(old, new)
    for name in plan.withdraw_first:
        await withdraw(inbox, name, reason)
    records = records if records is not None else {}
    kept = {n: s for n, s in old.items() if n not in plan.withdraw_first}
    swap = _Swap(inbox, board, kept, new, reason, records)
    try:
        await swap.serve(plan.serve)
    except ServeError:
        await swap.undo()
        await _serve_again(inbox, {name: old[name] for name in plan.withdraw_first}, reason, records)
        raise
    for name in plan.withdraw_last:
        await withdraw(inbox, name, reason)
    return swap.served


class _Swap:
    """One swap under way: remembers what it did."""

    def __init__(
        self,
        inbox: Inbox,
        board: Mapping[str, Topology],
        old: Clusters,
        new: Clusters,
        reason: str,
        records: Records,
    ) -> None:
        self._inbox = inbox
        self._board = board
        self._old = old
        self._new = new
        self._reason = reason
        self._records = records
        self.served: dict[str, tuple[BoundEndpoint, ...]] = {}

    async def serve(self, names: tuple[str, ...]) -> None:
        """Serve all; one that fails is tried again after the others, which may free its address."""
        waiting = list(names)
        while waiting:
            failed: dict[str, Exception] = {}
            for name in waiting:
                error = await self._serve_one(name)
                if error is not None:
                    failed[name] = error
            if len(failed) == len(waiting):
                raise ServeError(waiting[0], failed[waiting[0]])
            waiting = list(failed)

    async def _serve_one(self, name: str) -> Exception | None:
        new, old = self._new[name], self._old.get(name)
        for _ in range(MAX_STALE):
            wanted = topology_wanted(name, old, new, self._board.get(name), self._records)
            outcome = await publish(self._inbox, wanted, self._reason, new)
            if isinstance(outcome, Published):
                self.served[name] = outcome.endpoints
                return None
            if isinstance(outcome, Refused):
                return outcome.error
        return ValueError("its topology changes too often")

    async def undo(self) -> None:
        """Serve again what was served before; it was possible then, so a refusal now is not expected."""
        for name in reversed(self.served):  # who took an address gives it back before its owner needs it
            if name not in self._old:
                await withdraw(self._inbox, name, "undo: " + self._reason)
                continue
            await self._serve_old(name)

    async def _serve_old(self, name: str) -> None:
        """The nodes of before, in the roles of now: a failover may have ended meanwhile."""
        old = self._old[name]
        for _ in range(MAX_STALE):
            before = topology_with_roles(old.config.topology(name), self._records)
            wanted = before.with_epoch(self._board[name].epoch)
            if isinstance(
                await publish(self._inbox, wanted, "undo: " + self._reason, old), Published | Refused
            ):
                return


async def _serve_again(inbox: Inbox, clusters: Clusters, reason: str, records: Records) -> None:
    for name, settings in clusters.items():
        topology = topology_with_roles(settings.config.topology(name), records)
        await publish(inbox, topology, "undo: " + reason, settings)


def _addresses(settings: ClusterSettings) -> set[Address]:
    return {address for _, endpoint in settings.config.endpoints.listed for address in endpoint.addresses}
