"""Tends every shard of this process for as long as it leads: adopts, fails over, heals.

    setups, records, health, requests ─> decide (pure) ─> runner, steps ─> store, engines, fencer

One task per shard, woken by news. Only the leader acts; the loss of leadership ends everything at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import structlog
import trio

from shardproxy.failover.controls import Controls
from shardproxy.failover.events import EventLog
from shardproxy.failover.interfaces import Fencer, Nodes
from shardproxy.failover.setup import FailoverSettings, ShardSetup, record_new
from shardproxy.failover.shard.task import tend
from shardproxy.failover.shard.tended import Shared
from shardproxy.failover.steps import Steps
from shardproxy.model.board import Board
from shardproxy.model.health import NodeHealth, NodeKey
from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import Leadership, LeadershipLostError, Store, StoreUnavailableError
from shardproxy.store.record import ShardRecord

LARGE = 10  # of so many shards one more may be failed over at once: a rack takes a part of a fleet with it
CLAIM_PAUSE = 1.0  # seconds between tries to reach the store

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
    controls: Controls = field(default_factory=Controls)


async def run_watch(
    setups: Board[ShardKey, ShardSetup],
    records: Board[ShardKey, ShardRecord],
    watched: Board[ShardKey, ShardRecord],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Show the monitor what to watch: each configured shard's record, or a new one while there is none."""

    def show() -> None:
        for key, setup in setups.items():
            watched.show(key, records.get(key) or record_new(setup))
        for key in [key for key in watched if key not in setups]:
            watched.hide(key)

    async def follow(board: Board[ShardKey, ShardSetup] | Board[ShardKey, ShardRecord], seen: int) -> None:
        while True:
            seen = await board.wait_changed(seen)
            show()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow, setups, setups.version)
        nursery.start_soon(follow, records, records.version)
        show()
        task_status.started()


async def run_controller(
    inputs: Inputs,
    settings: FailoverSettings | None = None,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Tend every shard in `setups` whenever this process leads, until cancelled."""
    settings = settings or FailoverSettings()
    task_status.started()
    while True:
        try:
            leadership = await inputs.store.claim()
        except StoreUnavailableError as error:
            log.warning("store not available", why=str(error))
            await trio.sleep(CLAIM_PAUSE)
            continue
        log.info("leading", revision=leadership.revision)
        try:
            await _lead(inputs, settings, leadership)
        except* LeadershipLostError as group:
            log.warning("leadership lost", why=str(group.exceptions[0]))


async def _lead(inputs: Inputs, settings: FailoverSettings, leadership: Leadership) -> None:
    shared = Shared(
        inputs.setups,
        inputs.health,
        inputs.store,
        inputs.fencer,
        inputs.events,
        inputs.controls,
        settings,
        leadership,
        Steps(inputs.nodes, leadership, settings),
        trio.CapacityLimiter(settings.at_once),
        trio.CapacityLimiter(settings.at_start),
    )
    async with trio.open_nursery() as nursery:
        tended: dict[ShardKey, trio.CancelScope] = {}
        seen = inputs.setups.version
        while True:
            shared.at_once.total_tokens = max(settings.at_once, len(inputs.setups) // LARGE)
            ours = {key: setup for key, setup in inputs.setups.items() if setup.decider is None}
            for key in set(tended) - set(ours):
                tended.pop(key).cancel()
            for key, setup in ours.items():
                if key not in tended:
                    tended[key] = trio.CancelScope()
                    nursery.start_soon(_tend_within, tended[key], shared, setup)
            seen = await inputs.setups.wait_changed(seen)


async def _tend_within(scope: trio.CancelScope, shared: Shared, setup: ShardSetup) -> None:
    with scope:
        await tend(shared, setup)
