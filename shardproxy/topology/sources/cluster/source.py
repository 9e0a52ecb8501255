"""Follows one Redis Cluster: asks its primaries over and over, and shows what they agree on.

    hints (MOVED, nodes that are lost) ─> look ─> views ─> decide (pure) ─> numbers ─> showing

While all is well a few of many primaries are asked, in turn; where one of them says anything new, all are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import structlog
import trio

from shardproxy.config import RedisCluster
from shardproxy.config.topology import FromRedisCluster
from shardproxy.failover.events import EventName
from shardproxy.model import Address
from shardproxy.model.replication import ShardKey
from shardproxy.topology.sources.cluster.decide import ClusterLayout, decide
from shardproxy.topology.sources.cluster.handover import force, hand_over
from shardproxy.topology.sources.cluster.noting import NumbersNoted
from shardproxy.topology.sources.cluster.numbers import MAX_NUMBER, Numbers
from shardproxy.topology.sources.cluster.poll import Said, views_ask
from shardproxy.topology.sources.cluster.records import numbers_found, record_made
from shardproxy.topology.sources.cluster.view import View
from shardproxy.topology.sources.source import DeciderStatus, SourceInputs

LOOK = 1.0  # seconds between looks while all is well
CLOSE_LOOK = 0.1  # the same while something is going on
HINTED = 2.0  # seconds that a hint is worth looking closely
MIN_GAP = 0.02  # seconds, however many hints there are
SHARE = 4  # a look that took long is not repeated before so many times that
SAMPLE = 8  # primaries asked while all is well
PATIENCE = 3.0  # seconds without an agreement before anybody is told
SETTLES_WITHIN = 10.0  # seconds for a failover that was asked for

log = structlog.get_logger()


class RedisClusterSource:
    """See above."""

    def __init__(self, inputs: SourceInputs) -> None:
        config = inputs.settings.config
        assert isinstance(config, RedisCluster), "it has a decider"
        assert isinstance(config.decider, FromRedisCluster), "as this source is chosen by"
        self._inputs = inputs
        self._seeds = config.decider.seeds
        self._wait = config.writes.wait
        self._layout: ClusterLayout | None = None
        self._noted = NumbersNoted(inputs.notebook, inputs.cluster)
        self._numbers: Numbers | None = None
        self._asked: dict[Address, str | None] = {}
        self._hinted = trio.Event()
        self._close_until = 0.0
        self._turn = 0
        self._vague_since: float | None = None  # nothing was agreed on since
        self._trouble: str | None = None

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._inputs.showing.epochs.run)
            nursery.start_soon(self._noted.run)
            nursery.start_soon(self._run_hints)
            while True:
                self._hinted = trio.Event()
                began = trio.current_time()
                await self._look()
                took = trio.current_time() - began
                is_close = self._layout is None or trio.current_time() < self._close_until
                with trio.move_on_at(began + max(CLOSE_LOOK if is_close else LOOK, SHARE * took)):
                    await self._hinted.wait()
                await trio.sleep_until(began + max(MIN_GAP, took))

    async def _run_hints(self) -> None:
        async for _ in self._inputs.hints:
            self._look_closely()

    def _look_closely(self) -> None:
        self._close_until = trio.current_time() + HINTED
        self._hinted.set()

    # --- what is asked ---

    async def _look(self) -> None:
        is_close = trio.current_time() < self._close_until
        if self._layout is not None and self._noted.has_news:
            self._show(self._layout)  # another proxy may have numbered a shard first
        if self._layout is not None and not is_close and await self._is_as_before(self._layout):
            self._note_agreed()
            return
        said = await self._ask_all()
        views = [one for one in said.values() if isinstance(one, View)]
        found = decide(views)
        if isinstance(found, ClusterLayout) and len(found.groups) > MAX_NUMBER + 1:
            found = f"it has {len(found.groups)} shards, and {MAX_NUMBER + 1} can be served"
        self._asked = {node: one if isinstance(one, str) else None for node, one in said.items()}
        if isinstance(found, str):
            self._note_vague(found)
        else:
            self._show(found)
            self._note_agreed()

    async def _is_as_before(self, layout: ClusterLayout) -> bool:
        """Whether some primaries, in turn, say what was agreed on before."""
        groups = layout.groups
        self._turn = (self._turn + SAMPLE) % len(groups)
        sample = [*groups, *groups][self._turn : self._turn + min(SAMPLE, len(groups))]
        said = await views_ask(self._inputs.nodes, [group.address for group in sample])
        self._asked |= {node: one if isinstance(one, str) else None for node, one in said.items()}
        return all(isinstance(one, View) and is_said(layout, one) for one in said.values())

    async def _ask_all(self) -> dict[Address, Said]:
        """Ask every primary that anybody names, and whoever may have taken over from one that is silent."""
        said: dict[Address, Said] = {}
        wanted: Iterable[Address] = [g.address for g in self._layout.groups] if self._layout else self._seeds
        while wanted := [node for node in dict.fromkeys(wanted) if node not in said]:
            said |= await views_ask(self._inputs.nodes, wanted)
            wanted = _named([one for one in said.values() if isinstance(one, View)], said)
            if not wanted and not any(isinstance(one, View) for one in said.values()):
                wanted = (*self._seeds, *(self._layout.addresses if self._layout else ()))
        return said

    # --- what is shown ---

    def _show(self, layout: ClusterLayout) -> None:
        showing, cluster = self._inputs.showing, self._inputs.cluster
        before = dict(showing.shown)
        own = self._numbers or numbers_found(layout, before)
        numbers, groups = self._noted.laid_over(own).given(layout.groups)
        self._numbers = numbers
        self._noted.note(numbers, layout.groups)
        if self._layout is not None and layout != self._layout:
            self._close_until = trio.current_time() + HINTED  # more is likely to come
        self._layout = layout
        keys = {number: ShardKey(cluster, number) for number in groups}
        showing.keep_only(set(keys.values()))
        for number, group in groups.items():
            key = keys[number]
            old = before.get(key)
            shown = showing.show(record_made(key, group, old, self._wait))
            if old is None:
                why = f"{group.address}, as the Redis Cluster says"
                self._inputs.events.add(EventName.PRIMARY_ADOPTED, key, why)
            elif old.primary != shown.primary:
                why = f"{shown.primary} is primary as of config epoch {group.epoch}, it was {old.primary}"
                self._inputs.events.add(EventName.FAILOVER_COMPLETE, key, why)
            elif old.slots != shown.slots:
                log.info("slots moved", shard=str(key), slots=", ".join(map(str, shown.slots)))

    def _note_vague(self, why: str) -> None:
        now = trio.current_time()
        self._vague_since = now if self._vague_since is None else self._vague_since
        self._close_until = now + HINTED
        if self._layout is None:
            self._trouble = why
        if now - self._vague_since >= PATIENCE:
            self._say(f"{why}: what was served last is served on")

    def _note_agreed(self) -> None:
        self._vague_since = None
        self._say(None)

    def _say(self, trouble: str | None) -> None:
        if (trouble is None) != (self._trouble is None) and self._inputs.showing.shown:
            name = EventName.ALARM if trouble is not None else EventName.ALARM_CLEARED
            key = min(self._inputs.showing.shown)
            self._inputs.events.add(name, key, trouble or "the nodes of the Redis Cluster agree again")
        self._trouble = trouble

    @property
    def status(self) -> DeciderStatus:
        return DeciderStatus(
            "redis-cluster", {str(node): why for node, why in self._asked.items()}, self._trouble
        )

    # --- what operators ask for ---

    async def switch_over(self, key: ShardKey, to: Address | None) -> str | None:
        return await self._change(key, to, is_forced=False)

    async def promote(self, key: ShardKey, to: Address) -> str | None:
        return await self._change(key, to, is_forced=True)

    async def _change(self, key: ShardKey, to: Address | None, *, is_forced: bool) -> str | None:
        shown = self._inputs.showing.shown
        record = shown.get(key)
        if record is None or record.primary is None:
            return "its primary is not known yet"
        if to is not None and to not in record.replicas:
            return f"{to} is not one of its replicas"
        if is_forced and to is not None:
            why = await force(self._inputs.nodes, to)
        else:
            why = await hand_over(self._inputs.nodes, record.replicas if to is None else (to,))
        if why is not None:
            return why
        self._look_closely()
        with trio.move_on_after(SETTLES_WITHIN):
            while (now := shown.get(key)) is not None and now.primary == record.primary:
                self._look_closely()
                with trio.move_on_after(CLOSE_LOOK):
                    await self._inputs.showing.wait_shown(key)
            return None
        return f"the replica took it on, but is no primary within {SETTLES_WITHIN:.0f} s"

    def why_not(self, action: str) -> str:
        return WHY_NOT[action]


WHY_NOT = {
    "pause": (
        "the Redis Cluster fails over, not the proxy: to keep it from that, set cluster-replica-no-failover"
        " yes at the replicas for the time"
    ),
    "resume": "the Redis Cluster fails over, not the proxy: there is nothing to resume here",
    "acknowledge": "the Redis Cluster decides when to fail over again: nothing waits here",
}


def is_said(layout: ClusterLayout, view: View) -> bool:
    """Whether a node says the same: the same owners, as of the same epochs, with the same replicas."""
    owners = {group.primary: (group.epoch, group.slots, group.address) for group in layout.groups}
    said = {
        member.id: (member.epoch, member.slots, member.address)
        for member in view.members.values()
        if member.is_primary and member.slots
    }
    members = {
        member.id
        for member in view.members.values()
        if not member.is_primary and member.address is not None and not member.has_failed
    }
    replicas = {node for group in layout.groups for node, _ in group.replicas}
    run_ids = {group.primary: group.run_id for group in layout.groups}
    return (owners, replicas, run_ids.get(view.me.id)) == (said, members, view.run_id)


def _named(views: Sequence[View], said: dict[Address, Said]) -> list[Address]:
    """Primaries that somebody names and nobody has asked; and replicas of those that do not answer."""
    members = [member for view in views for member in view.members.values() if member.address is not None]
    primaries = [m.address for m in members if m.is_primary and m.address is not None]
    silent = {m.id for m in members if m.address is not None and isinstance(said.get(m.address), str)}
    heirs = [m.address for m in members if m.primary_id in silent and m.address is not None]
    return [node for node in dict.fromkeys((*primaries, *heirs)) if node not in said]
