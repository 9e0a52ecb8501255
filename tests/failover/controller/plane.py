"""A control plane over real engines, with a fencer that only writes down what it is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import trio

from shardproxy.failover.controller import Inputs, run_controller, run_watch
from shardproxy.failover.controls import Controls
from shardproxy.failover.events import EventName
from shardproxy.failover.interfaces import LeaderService
from shardproxy.failover.setup import FailoverSettings, ShardSetup
from shardproxy.fleet import RedisNode
from shardproxy.health.monitor import Boards, run_monitor
from shardproxy.model import Address, Node
from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.nodes import OpenLinks
from shardproxy.store.interface import Store
from shardproxy.store.local import LocalStore
from shardproxy.store.record import ShardRecord, ShardState

KEY = ShardKey("sessions", 0)
Services = Callable[[Inputs], tuple[LeaderService, ...]]
PATIENCE = 20.0  # seconds until a test gives up; none of them waits that long when all is well


@dataclass
class FakeFencer:
    """Serves every record at once. `hold` keeps it from confirming a fence, for good."""

    told: list[str] = field(default_factory=list)
    hold: bool = False
    held: trio.Event = field(default_factory=trio.Event)
    records: Mapping[ShardKey, ShardRecord] = field(default_factory=dict)

    async def wait_served(self, record: ShardRecord) -> None:
        self.told.append(f"{record.state.value} {record.epoch} {record.primary}")
        if self.hold and record.primary is None:
            self.held.set()
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()

    async def wait_everywhere(self, record: ShardRecord, *, within: float) -> None:
        await self.wait_served(record)

    def served(self, key: ShardKey) -> int:
        record = self.records.get(key)
        return record.changed if record is not None else 0


@dataclass
class Plane:
    """One running control plane."""

    inputs: Inputs
    boards: Boards
    fencer: FakeFencer
    controls: Controls

    @property
    def record(self) -> ShardRecord:
        return self.inputs.store.records[KEY]

    def events(self, name: EventName) -> list[str]:
        return [event.message for event in self.inputs.events.latest() if event.name is name]

    async def wait_settled(self) -> None:
        """Wait until no older promise counts any more."""
        await self.wait("its changes are finished", lambda: not self.record.pending)

    async def wait(self, what: str, is_so: Callable[[], bool]) -> None:
        """Wait for news until it is so."""
        boards = (self.inputs.store.records, self.boards.health, self.boards.reads)
        try:
            with trio.fail_after(PATIENCE):
                while not _holds(is_so):
                    seen = [board.version for board in boards]
                    with trio.move_on_after(0.2):  # engines and events change without a board's notice
                        await _first_change(boards, seen)
        except trio.TooSlowError:
            said = "\n".join(f"{event.name.value}: {event.message}" for event in self.inputs.events.latest())
            raise AssertionError(f"not so after {PATIENCE} s: {what}\n{said}") from None

    async def wait_primary(self, *nodes: RedisNode) -> RedisNode:
        """Wait until one of the nodes is the primary that is served."""
        await self.wait(
            "one of them is the primary",
            lambda: (
                KEY in self.inputs.store.records
                and self.record.state is ShardState.OK
                and any(self.record.primary == node.address for node in nodes)
            ),
        )
        return next(node for node in nodes if self.record.primary == node.address)

    async def wait_joined(self, *nodes: RedisNode) -> None:
        """Wait until one of them is the primary, and all others are in sync with it."""
        primary = await self.wait_primary(*nodes)

        def is_in_sync(node: RedisNode) -> bool:
            seen = node.info("replication")
            return seen.get("master_port") == str(primary.port) and seen.get("master_link_status") == "up"

        wanted = {node.address for node in nodes}
        await self.wait(
            "all have joined",
            lambda: bool(
                wanted <= set(self.record.joined)
                and (self.record.promise.voters or len(nodes) == 1)  # before, nobody may be promoted
                and all(is_in_sync(node) for node in nodes if node is not primary)
            ),
        )


def _holds(is_so: Callable[[], bool]) -> bool:
    """An old primary cuts its clients, also one that a test asks with."""
    try:
        return is_so()
    except (OSError, EOFError):
        return False


async def _first_change(boards: tuple[Board, ...], seen: list[int]) -> None:  # type: ignore[type-arg]
    async def wait(board: Board, version: int) -> None:  # type: ignore[type-arg]
        await board.wait_changed(version)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for board, version in zip(boards, seen, strict=True):
            nursery.start_soon(wait, board, version)


def setup_of(*nodes: RedisNode | Address, **options: object) -> ShardSetup:
    """Managed, unless the options say otherwise."""
    members = tuple(Node(node if isinstance(node, Address) else node.address) for node in nodes)
    return replace(ShardSetup(KEY, members, is_managed=True), **options)  # type: ignore[arg-type]


@asynccontextmanager
async def open_plane(
    state: Path,
    setup: ShardSetup,
    *,
    max_staleness: float | None = None,
    services: Services = lambda inputs: (),
) -> AsyncIterator[Plane]:
    """Run a monitor and a controller over these nodes until the block ends; `services` run while it leads."""
    with LocalStore(state) as store:
        async with open_plane_on(store, setup, max_staleness=max_staleness, services=services) as plane:
            yield plane


@asynccontextmanager
async def open_plane_on(
    store: Store,
    setup: ShardSetup,
    *,
    max_staleness: float | None = None,
    services: Services = lambda inputs: (),
) -> AsyncIterator[Plane]:
    setups: Board[ShardKey, ShardSetup] = Board()
    setups.show(KEY, setup)
    watched: Board[ShardKey, ShardRecord] = Board()
    boards, fencer = Boards(), FakeFencer()
    fencer.records = store.records
    links = OpenLinks()
    async with trio.open_nursery() as nursery:
        await nursery.start(links.run)
        inputs = Inputs(setups, boards.health, store, links, fencer)
        inputs.services = services(inputs)
        await nursery.start(run_watch, setups, store.records, watched)
        nursery.start_soon(_monitor, watched, boards, links, store.group, max_staleness)
        await nursery.start(run_controller, KEY.cluster, inputs, FailoverSettings())
        yield Plane(inputs, boards, fencer, Controls(store))
        nursery.cancel_scope.cancel()


async def _monitor(
    watched: Board[ShardKey, ShardRecord],
    boards: Boards,
    links: OpenLinks,
    group: str,
    max_staleness: float | None,
) -> None:
    await run_monitor(
        watched,
        boards,
        links.connect,
        group=group,
        max_staleness=lambda key: max_staleness,
    )
