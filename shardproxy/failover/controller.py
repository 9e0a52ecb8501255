"""Tends every shard of one cluster for as long as this process leads it: adopts, fails over, heals.

    setups, records, health, requests ─> decide (pure) ─> runner, steps ─> store, engines, fencer

One task per shard, woken by news. Only the leader acts; the loss of leadership ends everything at once, in
that cluster alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import structlog
import trio

from shardproxy.failover.chores import Chores
from shardproxy.failover.desk import LeaderDesk
from shardproxy.failover.event_log import EventLog
from shardproxy.failover.interfaces import Fencer, LeaderService, NobodyElse, Nodes, Witnesses
from shardproxy.failover.led import LedRecords
from shardproxy.failover.setup import FailoverSettings, ShardSetup, record_new
from shardproxy.failover.shard.task import tend
from shardproxy.failover.shard.tended import Limits, OutvotedError, Shared
from shardproxy.failover.steps import Steps
from shardproxy.model.board import Board, News
from shardproxy.model.health import NodeHealth, NodeKey
from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import Leadership, LeadershipLostError, Store, StoreUnavailableError
from shardproxy.store.record import ShardRecord

LARGE = 10  # of so many shards one more may be failed over at once: a rack takes a part of a fleet with it
CLAIM_PAUSE = 1.0  # seconds between tries to reach the store
LOOK = 0.5  # seconds between looks at whether we still lead
ABSTAIN = 30.0  # seconds for which who was outvoted lets others lead
NOBODY = 1.0  # seconds without a leader until it is seen that there is nobody else
RESIGN_WITHIN = 1.0  # seconds; a leader that cannot say so is known to be gone by its lease

log = structlog.get_logger()


@dataclass(slots=True)
class Inputs:
    """What a controller reads and acts on."""

    setups: Board[ShardKey, ShardSetup]
    health: Board[NodeKey, NodeHealth]
    store: Store
    nodes: Nodes
    fencer: Fencer
    events: EventLog = field(default_factory=EventLog)
    witnesses: Witnesses = field(default_factory=NobodyElse)
    chores: Chores = field(default_factory=Chores)
    services: tuple[LeaderService, ...] = ()  # run beside the shards' tasks, by whoever leads


async def run_watch(
    setups: Board[ShardKey, ShardSetup],
    records: Board[ShardKey, ShardRecord],
    watched: Board[ShardKey, ShardRecord],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Show the monitor what to watch: each configured shard's record, or a new one while there is none.

    Without its slots: whoever moves them has the nodes asked no more than else.
    """
    seen: dict[ShardKey, ShardRecord] = {}

    def show() -> None:
        for key, setup in setups.items():
            record = records.get(key) or record_new(setup)
            if seen.get(key) is not record or key not in watched:
                seen[key] = record
                watched.show(key, slotless(record))
        for key in [key for key in watched if key not in setups]:
            watched.hide(key)
            del seen[key]

    async def follow(board: Board[ShardKey, ShardSetup] | Board[ShardKey, ShardRecord], seen: int) -> None:
        while True:
            seen = await board.wait_changed(seen)
            show()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow, setups, setups.version)
        nursery.start_soon(follow, records, records.version)
        show()
        task_status.started()


def slotless(record: ShardRecord) -> ShardRecord:
    """Only what is to be known of nodes: equal for two records that differ in slots and holds alone."""
    return replace(record, slots=(), hold=None, generation=0, is_mixed=False, revision=0, changed=0)


async def run_controller(
    cluster: str,
    inputs: Inputs,
    settings: FailoverSettings | None = None,
    limits: Limits | None = None,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Tend the cluster's shards in `setups` whenever this process leads it, until cancelled."""
    settings = settings or FailoverSettings()
    limits = limits or Limits.of(settings)
    task_status.started()
    is_down = False
    stays_until = trio.current_time()
    while True:
        await _wait_wanted(cluster, inputs)
        try:
            leadership = await inputs.store.claim(cluster)
        except StoreUnavailableError as error:
            if not is_down:
                log.warning("store not available", cluster=cluster, why=str(error))
            is_down = True
            await trio.sleep(CLAIM_PAUSE)
            continue
        is_down = False
        log.info("leading", cluster=cluster, revision=leadership.revision)
        is_outvoted = False
        try:
            await _lead(inputs, settings, limits, leadership, stays_until)
        except* LeadershipLostError as group:
            log.warning("leadership lost", cluster=cluster, why=_first_of(group))
        except* OutvotedError as group:
            is_outvoted = True
            log.warning("another proxy had better lead", cluster=cluster, why=_first_of(group))
        finally:
            inputs.events.alarms_forget(cluster)
            with trio.move_on_after(RESIGN_WITHIN, shield=True):
                await leadership.resign()
        if is_outvoted:
            stays_until = trio.current_time() + ABSTAIN
            await _abstain(cluster, inputs.store)


def _first_of(group: BaseExceptionGroup[BaseException]) -> str:
    """What was raised first, however deep its task was."""
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return str(first)


async def _abstain(cluster: str, store: Store) -> None:
    """Let others lead for a while; not where nobody does."""

    def is_led() -> bool:
        return store.leaders.get(cluster) not in (None, store.member)

    news = News()
    store.leaders.subscribe(news, cluster)
    try:
        with trio.move_on_after(ABSTAIN):
            while True:
                with trio.move_on_after(NOBODY) as alone:
                    while not is_led():
                        await news.wait()
                if alone.cancelled_caught:
                    return
                while is_led():
                    await news.wait()
    finally:
        store.leaders.unsubscribe(news, cluster)


async def _lead(
    inputs: Inputs,
    settings: FailoverSettings,
    limits: Limits,
    leadership: Leadership,
    stays_until: float,
) -> None:
    led = LedRecords(inputs.store, leadership, inputs.setups)
    shared = Shared(
        inputs.setups,
        inputs.health,
        inputs.store,
        inputs.fencer,
        inputs.events,
        settings,
        leadership,
        Steps(inputs.nodes, leadership, settings),
        limits,
        led,
        inputs.witnesses,
        stays_until,
        inputs.chores,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch_leader, inputs, leadership, limits)
        nursery.start_soon(LeaderDesk(led, inputs.fencer).run, inputs.services)
        tended: dict[ShardKey, trio.CancelScope] = {}
        seen = inputs.setups.version
        while True:
            limits.at_once.total_tokens = max(settings.at_once, len(inputs.setups) // LARGE)
            setups = {key: of for key, of in inputs.setups.items() if key.cluster == leadership.cluster}
            for key in set(tended) - set(setups):
                tended.pop(key).cancel()
            for key, setup in setups.items():
                if key not in tended:
                    tended[key] = trio.CancelScope()
                    nursery.start_soon(_tend_within, tended[key], shared, setup)
            seen = await inputs.setups.wait_changed(seen)


def _why_not_wanted(cluster: str, inputs: Inputs) -> str | None:
    """Why this process had better not lead: by its config it may do less there than another one.

    No two say that of each other.
    """
    store, ours = inputs.store, {key: setup for key, setup in inputs.setups.items() if key.cluster == cluster}
    is_automatic = any(setup.is_automatic for setup in ours.values())
    for name, member in store.members.items():
        if name == store.member or member.is_draining:
            continue
        theirs = cluster in member.automatic
        if theirs and not is_automatic:
            return f"{name} fails it over unasked, and the config here does not allow that"
        watched = {key for by, key in store.votes if by == name and key.cluster == cluster}
        if theirs == is_automatic and watched > ours.keys():
            more = ", ".join(str(key) for key in sorted(watched - ours.keys()))
            return f"{name} has more shards of it than the config here: {more}"
    return None


async def _wait_wanted(cluster: str, inputs: Inputs) -> None:
    """Wait while another one had better lead."""
    news = News()
    heard: tuple[Board[Any, Any], ...] = (inputs.setups, inputs.store.members, inputs.store.votes)
    for board in heard:
        board.subscribe(news)
    try:
        while _why_not_wanted(cluster, inputs) is not None:
            await news.wait()
    finally:
        for board in heard:
            board.unsubscribe(news)


async def _watch_leader(inputs: Inputs, leadership: Leadership, limits: Limits) -> None:
    """Raise LeadershipLostError when another one may lead, also while nothing is written.

    Raise OutvotedError when one had better, and no failover is under way.
    """
    news, cluster, store = News(), leadership.cluster, inputs.store
    store.leaders.subscribe(news, cluster)
    try:
        while store.leaders.get(cluster) == store.member:
            if not leadership.covers(0.0):
                raise LeadershipLostError("the lease has run out")
            why_not = _why_not_wanted(cluster, inputs)
            if why_not is not None and not limits.at_once.borrowed_tokens:
                raise OutvotedError(why_not)
            with trio.move_on_after(LOOK):
                await news.wait()
    finally:
        store.leaders.unsubscribe(news, cluster)
    raise LeadershipLostError(f"{store.leaders.get(cluster) or 'nobody'} leads {cluster} now")


async def _tend_within(scope: trio.CancelScope, shared: Shared, setup: ShardSetup) -> None:
    with scope:
        await tend(shared, setup)
