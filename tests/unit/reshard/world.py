"""Two or three shards in memory, a desk over their records, engines that know what moves ask, and a copier.

Every effect on the outside goes through `World.effect`, where a test breaks it. Clients write all the while.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import trio

from shardproxy.failover.interfaces import FenceError, Nodes
from shardproxy.failover.led import generation_next
from shardproxy.failover.setup import ShardSetup
from shardproxy.jobs.job import Job, JobState
from shardproxy.jobs.statistics import JobStatistics
from shardproxy.model import Address, Node, SlotRange
from shardproxy.model.replication import Lineage, ShardKey
from shardproxy.model.slots import slots_each
from shardproxy.nodes import NodeUnreachable
from shardproxy.replication.interface import (
    CopyDiffersError,
    CopyError,
    CopyFault,
    CopyPhase,
    CopyPlan,
    CopyStatus,
    End,
)
from shardproxy.reshard.parts import Engines, Parts
from shardproxy.store.interface import StoreUnavailableError
from shardproxy.store.record import Promise, ShardRecord, ShardState
from shardproxy.wire.reply import Failure, Reply
from shardproxy.wire.resp import Argument

CLUSTER = "main"
ALL = (SlotRange(0, 16383),)


class CrashError(Exception):
    """The process died here."""


def key_of(shard: int) -> ShardKey:
    return ShardKey(CLUSTER, shard)


def primary_of(shard: int) -> Address:
    return Address(f"shard{shard}", 7000)


def replica_of(shard: int) -> Address:
    return Address(f"shard{shard}", 7001)


def slot_of(key: bytes) -> int:
    """Keys of these tests are called `slot:anything`."""
    return int(key.partition(b":")[0])


Break = Callable[[str, bool], None]  # what happens to an effect, before or after it


@dataclass
class FakeEngine:
    """What one primary has; its replicas have the same at once."""

    keys: dict[bytes, int] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    libraries: dict[bytes, bytes] = field(default_factory=dict)
    offset: int = 0
    replid: str = "a" * 40
    run_id: str = "run"
    keys_per_scan: int = 3
    flushed: int = 0  # FLUSHALL calls
    scripts: list[str] = field(default_factory=list)  # that it was told to load
    refuses_scripts: bool = False

    def info(self) -> str:
        fields = {
            "redis_version": "7.0.15",
            "run_id": self.run_id,
            "role": "master",
            "master_replid": self.replid,
            "master_repl_offset": str(self.offset),
            "connected_slaves": "1",
            "slave0": f"ip=replica,port=7001,state=online,offset={self.offset},lag=0",
            "used_memory": str(1000 + 100 * len(self.keys)),
            "used_memory_dataset": str(100 * len(self.keys)),
            "maxmemory": "0",
            "db0": f"keys={len(self.keys)},expires=0",
            **self.facts,
        }
        return "".join(f"{name}:{value}\r\n" for name, value in fields.items())

    def answer(self, request: Sequence[Argument]) -> Reply:
        name, *words = (word if isinstance(word, bytes) else str(word).encode() for word in request)
        return self._answer(name.decode(), words)

    def _answer(self, name: str, words: list[bytes]) -> Reply:
        match name:
            case "INFO" if words == [b"commandstats"]:
                return (
                    "# Commandstats\r\ncmdstat_set:calls=3,usec=4\r\n"
                    + (f"cmdstat_flushall:calls={self.flushed},usec=9\r\n" if self.flushed else "")
                ).encode()
            case "INFO":
                return self.info().encode()
            case "TIME":
                return [str(1_000_000).encode(), b"0"]
            case "MODULE":
                return []
            case "CONFIG":
                return [b"proto-max-bulk-len", b"536870912"]
            case "SCAN":
                cursor = int(words[0])
                after = [key for key in sorted(self.keys) if not cursor or key > self._cursors[cursor]]
                page = after[: self.keys_per_scan]
                return [self._next(page, after), page]
            case "MEMORY":
                return 100
            case "UNLINK":
                return sum(self.keys.pop(key, None) is not None for key in words)
            case "SCRIPT":
                if self.refuses_scripts:
                    return Failure("NOPERM User default has no permissions to run the 'script|load' command")
                self.scripts.append(words[1].decode())
                return b"digest"
            case "WAIT":
                return 1
            case "FUNCTION" if words[0] == b"LIST":
                found = self.libraries.items()
                return [[b"library_name", library, b"library_code", code] for library, code in found]
            case "FUNCTION":
                code = words[1]
                self.libraries[code.split(b"=")[1].split()[0]] = code
                return b"ok"
        return Failure(f"ERR unknown command {name}")

    _cursors: dict[int, bytes] = field(default_factory=dict)

    def _next(self, page: list[bytes], after: list[bytes]) -> bytes:
        if len(page) == len(after):
            return b"0"
        number = len(self._cursors) + 1
        self._cursors[number] = page[-1]
        return str(number).encode()


@dataclass
class World:
    """What outlives a crash: records, engines, the job's memo, and what clients were told."""

    shards: int = 2
    records: dict[ShardKey, ShardRecord] = field(default_factory=dict)
    engines: dict[Address, FakeEngine] = field(default_factory=dict)
    setups: dict[ShardKey, ShardSetup] = field(default_factory=dict)
    memo: dict[str, Any] = field(default_factory=dict)
    told: dict[bytes, int] = field(
        default_factory=dict
    )  # what clients wrote, and how often that was acknowledged
    effects: int = 0
    is_led: bool = True  # by who believes so
    families: tuple[tuple[str, str], ...] = ()  # of the config now
    lingers: float = 0.0
    wrote_in: float = 0.0
    down: set[Address] = field(default_factory=set)  # primaries that answer nothing
    breaks: Callable[[int, str, bool], None] = lambda number, name, is_after: None
    copiers: list[FakeCopier] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    statistics: JobStatistics = field(default_factory=JobStatistics)
    owners_seen: list[tuple[int, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for shard in range(self.shards):
            key, primary = key_of(shard), primary_of(shard)
            nodes = (Node(primary), Node(replica_of(shard)))
            self.setups[key] = ShardSetup(key, nodes, name=f"s{shard}")
            self.records[key] = ShardRecord(
                key,
                1,
                ShardState.OK,
                primary,
                (primary, replica_of(shard)),
                slots=ALL if shard == 0 else (),
                promise=Promise(frozenset({replica_of(shard)})),
                lineage=Lineage("a" * 40),
                run_id=f"run{shard}",
            )
            self.engines[primary] = FakeEngine(run_id=f"run{shard}")

    @contextmanager
    def effect(self, name: str) -> Any:
        self.effects += 1
        number = self.effects
        self.clients_write()
        self.breaks(number, name, False)
        yield
        assert not any(copier.writes_to_owner for copier in self.copiers), f"a copier goes on at {name}"
        self.breaks(number, name, True)
        self.owners_seen.append(tuple(self.owner_of(slot) for slot in (0, 100, 16000)))

    def owner_of(self, slot: int) -> int:
        owners = [
            key.index
            for key, record in self.records.items()
            if any(part.first <= slot <= part.last for part in record.slots)
        ]
        assert len(owners) == 1, f"slot {slot} belongs to {owners}"
        return owners[0]

    def clients_write(self) -> None:
        """A client counts in each of some keys, one of which is renewed only now and then."""
        for slot in (0, 1, 100, 8191, 8192, 16000):
            shard = self.owner_of(slot)
            record = self.records[key_of(shard)]
            if record.hold and any(part.first <= slot <= part.last for part in record.hold.slots):
                continue
            key = f"{slot}:count".encode()
            engine = self.engines[primary_of(shard)]
            engine.keys[key] = engine.keys.get(key, 0) + 1
            engine.offset += 10
            self.told[key] = self.told.get(key, 0) + 1

    def fill(self, slots: Iterable[int], shard: int = 0) -> None:
        for slot in slots:
            key = f"{slot}:value".encode()
            self.engines[primary_of(shard)].keys[key] = 1
            self.told[key] = 1

    def faults(self) -> list[str]:
        """What is wrong when all has ended."""
        found = []
        for key, count in self.told.items():
            shard = self.owner_of(slot_of(key))
            has = self.engines[primary_of(shard)].keys.get(key)
            if has != count:
                found.append(f"{key!r} is {has} and not {count}")
        for shard in range(self.shards):
            record = self.records[key_of(shard)]
            owned = set(slots_each(record.slots))
            strays = [key for key in self.engines[primary_of(shard)].keys if slot_of(key) not in owned]
            if strays and not record.is_mixed:
                found.append(f"shard {shard} shows {len(strays)} keys that are not its own: {strays[:3]}")
            if record.hold is not None:
                found.append(f"shard {shard} holds requests for ever")
        return found


@dataclass
class FakeDesk:
    """A leader's; holds of the one before are dropped when it begins."""

    world: World

    def __post_init__(self) -> None:
        for key, record in self.world.records.items():
            self.world.records[key] = replace(record, hold=None)
        for copier in self.world.copiers:
            copier.is_stopped = True  # with the process

    cluster = CLUSTER
    term = 1

    @property
    def lingers(self) -> float:
        return self.world.lingers

    @property
    def wrote_in(self) -> float:
        return self.world.wrote_in

    @property
    def setups(self) -> Mapping[ShardKey, ShardSetup]:
        return self.world.setups

    @property
    def records(self) -> Mapping[ShardKey, ShardRecord]:
        return self.world.records

    def covers(self, seconds: float) -> bool:
        return self.world.is_led

    def seals(self, record: ShardRecord, latest: int = 1) -> tuple[str, ...]:
        return (f"seal {record.key} {record.generation}",) if self.lingers else ()

    async def change(self, changes: Mapping[ShardKey, Callable[[ShardRecord], ShardRecord]]) -> None:
        await trio.lowlevel.checkpoint()
        with self.world.effect("change"):
            before = self.world.records
            changed = {key: generation_next(before[key], do(before[key])) for key, do in changes.items()}
            self.world.records.update(changed)

    async def wait_served(self, keys: Iterable[ShardKey], *, within: float) -> None:
        await trio.sleep(0.001)
        with self.world.effect("served"):
            pass


@dataclass
class FakeWork:
    """A job whose memo outlives it."""

    world: World
    wants: Mapping[str, Any]
    state: JobState = JobState.RUNNING
    shown: list[str] = field(default_factory=list)
    turned: trio.Event = field(default_factory=trio.Event)
    told: trio.Event = field(default_factory=trio.Event)

    @property
    def job(self) -> Job:
        return Job("1", CLUSTER, "reshard", self.wants, self.state, memo=self.world.memo)

    @property
    def is_paused(self) -> bool:
        return self.state is JobState.PAUSED

    @property
    def is_aborted(self) -> bool:
        return self.state is JobState.ABORTING

    def turn(self, state: JobState) -> None:
        self.state = state
        self.turned.set()
        self.turned = trio.Event()

    is_finishing = False
    why_kept_on = ""

    async def keep_on(self, why: str) -> None:
        raise AssertionError("nobody brings it to its end")

    async def wait_resumed(self) -> None:
        await trio.lowlevel.checkpoint()
        while self.is_paused:
            await self.turned.wait()

    async def wait_aborted(self) -> None:
        while not self.is_aborted:
            await self.turned.wait()

    async def save(self, memo: Mapping[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        with self.world.effect("save"):
            self.world.memo = dict(memo)

    def show(self, stage: str, *, what: str = "", done: int = 0, total: int = 0, text: str = "") -> None:
        self.shown.append(f"{stage}: {text}")
        self.told.set()
        self.told = trio.Event()

    async def wait_shown(self, word: str) -> None:
        while not any(word in text for text in self.shown):
            await self.told.wait()


@dataclass
class FakeCopier:
    """Has the target be as the source when it is asked to be."""

    world: World
    plan: CopyPlan
    is_stopped: bool = False
    differs: bool = False
    is_unlike: bool = False  # already while clients write
    is_close: bool = True
    stop_takes: float = 0.0  # seconds
    unanswered: int = 0  # when it has ended
    is_resting: bool = False
    history: str = ""  # that it knows its source's data by
    refused: int = 0  # numbers of other histories that it was to reach
    kept_until: float = 0.0
    status: CopyStatus = field(
        default_factory=lambda: CopyStatus(CopyPhase.FOLLOWING, keys=5, scanned=5, total=5)
    )

    async def wait_close(self) -> None:
        await trio.sleep(0.01)
        if not self.is_close:
            await trio.sleep_forever()
        self.history = self._source.replid
        with self.world.effect("close"):
            self._copy()

    async def reach(
        self, offset: int, replid: str, *, within: float, replicas: int = 0, rests: bool = False
    ) -> None:
        await trio.sleep(0.001)
        if replid != self.history:
            self.refused += 1
            raise CopyError("the copy is of another history", CopyFault.LATE)
        with self.world.effect("reach"):
            self._copy()
        if rests:
            await self.rest(within=within)

    async def verify(self, *, within: float) -> int:
        await trio.sleep(0.001)
        with self.world.effect("verify"):
            pass
        if self.differs:
            raise CopyDiffersError("3 keys differ")
        return 1

    async def compare(self, *, within: float) -> int:
        await trio.sleep(0.001)
        with self.world.effect("compare"):
            pass
        if self.is_unlike:
            raise CopyDiffersError("key k differs")
        return 5

    def keep(self, until: float) -> None:
        self.kept_until = until

    async def rest(self, *, within: float) -> None:
        await trio.lowlevel.checkpoint()
        self.is_resting = True

    def go_on(self) -> None:
        self.is_resting = False

    async def sources(self, sources: Sequence[End]) -> None:
        await trio.lowlevel.checkpoint()
        self.plan = replace(self.plan, sources=tuple(sources))

    async def stop(self) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(self.stop_takes)
        self.is_stopped = True
        self.status = replace(self.status, unanswered=self.unanswered)

    @property
    def writes_to_owner(self) -> bool:
        """It may take away from clients what they have written at the slots' new owner."""
        (target,) = self.plan.targets
        owner = self.world.owner_of(target.slots[0].first)
        return not self.is_stopped and primary_of(owner) == target.end.address

    @property
    def _source(self) -> FakeEngine:
        return self.world.engines[self.plan.sources[-1].address]

    def _copy(self) -> None:
        assert not self.is_stopped
        assert not self.is_resting
        (target,) = self.plan.targets
        slots = set(slots_each(target.slots))
        source = self._source.keys
        there = self.world.engines[target.end.address].keys
        for key in [key for key in there if slot_of(key) in slots]:
            del there[key]
        there.update({key: value for key, value in source.items() if slot_of(key) in slots})


@dataclass
class FakeNodes:
    world: World

    async def request_many(
        self,
        address: Address,
        requests: Sequence[Sequence[Argument]],
        *,
        timeout: float,
        run_id: str | None = None,
    ) -> list[Reply]:
        await trio.sleep(0.0001)
        engine = self.world.engines[address]
        if address in self.world.down:
            raise NodeUnreachable(address, "refused", is_sent=False)
        if run_id not in (None, engine.run_id):
            raise NodeUnreachable(address, "another process", is_sent=False)
        with self.world.effect(str(requests[0][0])):
            return [engine.answer(request) for request in requests]


@dataclass(frozen=True)
class FakeEngines:
    nodes: Nodes
    world: World

    @property
    def families(self) -> tuple[tuple[str, str], ...]:
        return self.world.families

    def end_of(self, address: Address) -> End:
        return End(address)

    def slot_of(self, key: bytes) -> int:
        return slot_of(key)


def parts_of(world: World) -> Parts:
    @asynccontextmanager
    async def engines(cluster: str) -> AsyncIterator[Engines]:
        yield FakeEngines(FakeNodes(world), world)

    async def copier_start(plan: CopyPlan) -> FakeCopier:
        await trio.lowlevel.checkpoint()
        with world.effect("copy"):
            copier = FakeCopier(world, plan)
            world.copiers.append(copier)
            return copier

    return Parts(
        engines, copier_start, lambda cluster, seconds: world.pauses.append(seconds), world.statistics.moved
    )


# What may befall one effect.


def crash(when_after: bool) -> Break:
    def broken(name: str, is_after: bool) -> None:
        if is_after is when_after:
            raise CrashError(name)

    return broken


def fails(when_after: bool) -> Break:
    """As that kind of effect fails; what was written may stand all the same."""

    def broken(name: str, is_after: bool) -> None:
        if is_after is not when_after:
            return
        if name in ("change", "save"):
            raise StoreUnavailableError("away")
        if name == "served":
            raise FenceError("p2 does not follow")
        if name in ("copy", "close", "compare", "reach", "verify"):
            raise CopyError("broke")
        raise NodeUnreachable(Address("somewhere", 1), "refused", is_sent=when_after)

    return broken
