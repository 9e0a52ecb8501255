"""One control plane in the simulation: monitor, controller, lease. It can crash, and it can be stopped.

Every await of its controller is counted: faults may be set to strike at any of them. A process that is
stopped goes on where it was: what it had sent is sent, what it has not checked it checks when it wakes up.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import trio

from shardproxy.coordination.fencer import AckFencer
from shardproxy.coordination.votes import VotesOfMembers, run_votes
from shardproxy.failover.controller import Inputs, run_controller, run_watch
from shardproxy.failover.controls import Controls
from shardproxy.failover.requests import request_decode
from shardproxy.failover.setup import ShardSetup
from shardproxy.health.monitor import Boards, run_monitor
from shardproxy.model import Address
from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import Leadership, MemberKey, Store
from shardproxy.store.member import Member, Vote
from shardproxy.store.notes import Note, NoteKey, NoteKind, Notes
from shardproxy.store.record import ShardRecord
from shardproxy.wire.reply import Reply
from shardproxy.wire.resp import Argument
from tests.simulation.commands import is_changing, is_freeze, words_of
from tests.simulation.moves import Mover
from tests.simulation.proxy import SimProxy
from tests.simulation.store import NO_NEWS, SimSession, SimStore
from tests.simulation.world import HOST, US, World

IN_FLIGHT = 5.0  # seconds in which what was begun before a pause is brought to its end

_numbers = itertools.count(1)


def is_asked(notes: Notes, key: ShardKey | None = None) -> bool:
    """Whether an operator waits for a change of primary, of that shard or of any."""
    names = [] if key is None else [str(key.index)]
    for name, note in notes.items():
        if name.kind is NoteKind.REQUEST and (not names or name.name in names):
            request = request_decode(note.value)
            if request is not None and not request.is_over:
                return True
    return False


@dataclass
class Group:
    """Processes and proxies that share a store, and have the same config."""

    store: SimStore
    setups: Board[ShardKey, ShardSetup]
    proxies: list[SimProxy]
    is_observing: bool  # failover is off in its config, from the start
    processes: list[Process] = field(default_factory=list)
    paused: set[str] = field(default_factory=set)  # clusters
    told_off_at: float = 0.0  # when it was last paused, or failover was switched off
    reloaded_at: float = float("-inf")  # when its config last had other nodes

    @property
    def may_decide(self) -> bool:
        return all(setup.is_automatic for setup in self.setups.values())

    def has_node(self, key: ShardKey, node: Address) -> bool:
        """Whether its config has that node, by whatever name."""
        return node.port in {address.port for address in self.setups[key].addresses}


@dataclass
class Process:
    """Nodes, store and fencer as seen by one process."""

    world: World
    group_of: Group
    session: SimSession
    applied: Board[ShardKey, int]  # by the data plane that it waits for in any case
    at_await: Callable[[], None]
    boards: Boards = field(default_factory=Boards)
    end: str = US  # of the network
    may_lead: bool = True
    is_voting: bool = False  # it is one of a fleet
    is_waiting_for_all: bool = True  # that serve a record; a mutation switch
    mover: Mover | None = None  # runs where this process leads
    asked_at: float = float("-inf")  # an operator asked for something last

    def __post_init__(self) -> None:
        self.controls = Controls(self)

    @property
    def store(self) -> SimStore:
        return self.group_of.store

    async def run(self) -> None:
        """Decide, or watch; its session runs already."""
        watched: Board[ShardKey, ShardRecord] = Board()
        setups = self.group_of.setups
        store = cast("Store", self)  # a controller uses no more of it
        inputs = Inputs(setups, self.boards.health, store, self, self)
        if self.mover is not None:
            inputs.services = (self.mover.run,)
        async with trio.open_nursery() as nursery:
            await nursery.start(run_watch, setups, self.records, watched)
            nursery.start_soon(self._monitor, watched)
            if self.is_voting:
                inputs.witnesses = VotesOfMembers(store)
            if self.is_voting and self.may_lead:
                nursery.start_soon(run_votes, setups, self.boards, store)
            if self.may_lead:
                nursery.start_soon(self.controls.run)
                for cluster in self.session.clusters:
                    nursery.start_soon(run_controller, cluster, inputs)

    async def _monitor(self, watched: Board[ShardKey, ShardRecord]) -> None:
        await run_monitor(
            watched,
            self.boards,
            lambda _, address: SimLink(self, address),
            group=self.group,
            is_observer=lambda: not self.group_of.may_decide,
            traffic=self.world,
        )

    @property
    def is_leading(self) -> bool:
        """In truth, whatever it knows."""
        return any(self.store.is_leading(self.session.member, cluster) for cluster in self.session.clusters)

    @property
    def stopped_until(self) -> float:
        return self.session.stopped_until

    @stopped_until.setter
    def stopped_until(self, until: float) -> None:
        self.session.stopped_until = until

    async def turn(self) -> None:
        await self.session.turn()

    async def _acted(self) -> None:
        self.at_await()
        await self.turn()

    # Nodes

    async def request_many(
        self,
        address: Address,
        requests: Sequence[Sequence[Argument]],
        *,
        timeout: float,
        run_id: str | None = None,
    ) -> list[Reply]:
        self.at_await()
        self._check_right([words_of(request) for request in requests], address)
        try:
            client = f"commands {id(self)}"
            return await self.world.call(address, requests, timeout, run_id, client=client, end=self.end)
        finally:
            await self._acted()

    def _check_right(self, requests: Sequence[tuple[str, ...]], address: Address) -> None:
        """Whether we may change anything now."""
        checks, group, now = self.world.checks, self.group_of, trio.current_time()
        changing = [words for words in requests if is_changing(words)]
        if not changing:
            return
        what = f"{' '.join(changing[0])} to {address}"
        if not self.is_leading:
            checks.complain(f"LEASE: {what} without a lease")
        if is_asked(self.store.notes) or now - self.asked_at < IN_FLIGHT:
            return  # an operator's wish
        if now - max(group.told_off_at, self.stopped_until) < IN_FLIGHT and not group.is_observing:
            return
        if not group.may_decide:
            checks.complain(f"QUIET: {what} with failover off")
        elif group.paused and not all(map(is_freeze, changing)):
            checks.complain(f"QUIET: {what} while paused")

    # Store

    lingers = NO_NEWS

    @property
    def group(self) -> str:
        return self.store.group

    @property
    def records(self) -> Board[ShardKey, ShardRecord]:
        return self.session.boards.records

    @property
    def member(self) -> str:
        return self.session.member

    @property
    def acks(self) -> Board[MemberKey, int]:
        return self.session.boards.acks

    @property
    def votes(self) -> Board[MemberKey, Vote]:
        return self.session.boards.votes

    @property
    def members(self) -> Board[str, Member]:
        return self.session.boards.members

    @property
    def leaders(self) -> Board[str, str]:
        return self.session.boards.leaders

    @property
    def notes(self) -> Notes:
        return self.session.boards.notes

    async def note(self, key: NoteKey, value: Any, *, expected: int | None = None) -> Note:
        self.at_await()
        try:
            return await self.session.note(key, value, expected=expected)
        finally:
            await self._acted()

    async def drop(self, key: NoteKey, *, expected: int | None = None) -> None:
        self.at_await()
        try:
            await self.session.drop(key, expected=expected)
        finally:
            await self._acted()

    async def ack(self, key: ShardKey, changed: int | None) -> None:
        await self.session.ack(key, changed)

    async def vote(self, votes: Mapping[ShardKey, Vote | None]) -> None:
        await self.session.vote(votes)

    async def claim(self, cluster: str) -> Leadership:
        return await self.session.claim(cluster)

    async def put(self, record: ShardRecord, leadership: Leadership) -> ShardRecord:
        self.at_await()
        try:
            return await self.session.put(record, leadership)
        finally:
            await self._acted()

    async def put_all(
        self, records: Sequence[ShardRecord], leadership: Leadership
    ) -> tuple[ShardRecord, ...]:
        self.at_await()
        try:
            return await self.session.put_all(records, leadership)
        finally:
            await self._acted()

    # Fencer

    @property
    def _fencer(self) -> AckFencer:
        setups, store = self.group_of.setups, cast("Store", self)
        if self.is_waiting_for_all:
            return AckFencer(store, self.applied, setups)
        return AckFencer(store, self.applied, {k: replace(s, is_strict=False) for k, s in setups.items()})

    async def wait_served(self, record: ShardRecord) -> None:
        self.at_await()
        try:
            await self._fencer.wait_served(record)
        finally:
            await self._acted()

    async def wait_everywhere(self, record: ShardRecord, *, within: float) -> None:
        self.at_await()
        try:
            await self._fencer.wait_everywhere(record, within=within)
        finally:
            await self._acted()

    def served(self, key: ShardKey) -> int:
        return self._fencer.served(key) if self.is_waiting_for_all else self.applied.get(key, 0)


@dataclass
class SimLink:
    """A monitor's connection to one node."""

    process: Process
    address: Address
    name: str = field(default_factory=lambda: f"link {next(_numbers)}")
    run_id: str = ""
    opened: int = 0
    peer: str = HOST

    async def request_many(
        self, requests: Sequence[Sequence[Argument]], *, timeout: float | None = None
    ) -> list[Reply]:
        await self.process.turn()
        world = self.process.world
        engine = world.engines[world.own(self.address)]
        replies = await world.call(
            self.address, requests, timeout or 1.0, client=self.name, end=self.process.end
        )
        await self.process.turn()
        if engine.run_id != self.run_id:
            self.run_id = engine.run_id
            self.opened += 1
        return replies

    async def wait_closed(self) -> None:
        if not self.run_id:
            await trio.sleep_forever()
        world = self.process.world
        address = world.own(self.address)
        if world.is_serving(address, self.run_id):
            await world.death(address).wait()
        self.run_id = ""

    def close(self) -> None:
        self.run_id = ""
        world = self.process.world
        world.engines[world.own(self.address)].clients.pop(self.name, None)
