"""A cluster, its engines and its desk, as far as a backup meets them."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import trio

from shardproxy.backup.making import BackupTools
from shardproxy.config import Backups
from shardproxy.failover.interfaces import FenceError
from shardproxy.failover.setup import ShardSetup
from shardproxy.jobs.job import Job
from shardproxy.model import Address, Hold, split_evenly
from shardproxy.model.replication import ShardKey
from shardproxy.nodes import NodeUnreachable
from shardproxy.replication.interface import (
    CopyError,
    End,
    RdbSummary,
    Slots,
    Snapshot,
    SnapshotPhase,
    SnapshotStatus,
)
from shardproxy.store.interface import MAX_TOGETHER
from shardproxy.store.record import ShardRecord, ShardState
from shardproxy.wire.reply import Failure, Reply
from shardproxy.wire.resp import Argument
from tests.unit.archive.manifests import OURS

CLUSTER = "sessions"
REPLID = "a" * 40


def primary(shard: int) -> Address:
    return Address("10.0.0.1", 7000 + shard)


def replica(shard: int) -> Address:
    return Address("10.0.0.2", 7000 + shard)


@dataclass
class Engine:
    """What a node says, and what is asked of it."""

    follows: Address | None = None
    offset: int = 100
    delay: str | None = "5"
    why_not_set: str | None = None
    is_saving: bool = False
    is_up: bool = True
    modules: tuple[str, ...] = ()
    checksum: str = "yes"
    settings: list[str] = field(default_factory=list)

    def reply(self, request: Sequence[Argument]) -> Reply:
        words = [str(word) for word in request]
        if words[0] == "INFO":
            return self._info().encode()
        if words == ["MODULE", "LIST"]:
            return [[b"name", name.encode(), b"ver", 1] for name in self.modules]
        if words == ["CONFIG", "GET", "rdbchecksum"]:
            return [b"rdbchecksum", self.checksum.encode()]
        if words[:2] == ["CONFIG", "GET"]:
            return [] if self.delay is None else [b"repl-diskless-sync-delay", self.delay.encode()]
        assert words[:3] == ["CONFIG", "SET", "repl-diskless-sync-delay"]
        if self.why_not_set is not None:
            return Failure(self.why_not_set)
        self.delay = words[3]
        self.settings.append(words[3])
        return b"OK"

    def _info(self) -> str:
        lines = [f"redis_version:7.0.15\nused_memory:1000\nrdb_bgsave_in_progress:{int(self.is_saving)}"]
        lines.append(f"master_replid:{REPLID}\nmaster_replid2:{'0' * 40}\nsecond_repl_offset:-1")
        if self.follows is None:
            lines.append(f"role:master\nmaster_repl_offset:{self.offset}\nconnected_slaves:0")
        else:
            lines.append(
                f"role:slave\nmaster_host:{self.follows.host}\nmaster_port:{self.follows.port}\n"
                f"master_link_status:up\nslave_repl_offset:{self.offset}\nmaster_sync_in_progress:0"
            )
        return "\n".join(lines)


@dataclass
class FakeNodes:
    engines: dict[Address, Engine]
    asked: list[tuple[Address, tuple[Argument, ...]]] = field(default_factory=list)

    async def request_many(
        self,
        address: Address,
        requests: Sequence[Sequence[Argument]],
        *,
        timeout: float,
        run_id: str | None = None,
    ) -> list[Reply]:
        await trio.lowlevel.checkpoint()
        engine = self.engines[address]
        if not engine.is_up:
            raise NodeUnreachable(address, "refused", is_sent=False)
        self.asked += [(address, tuple(request)) for request in requests]
        return [engine.reply(request) for request in requests]


@dataclass
class FakeDesk:
    """A SlotDesk; `history` has each record's hold after each change."""

    records: dict[ShardKey, ShardRecord]
    cluster: str = CLUSTER
    term: int = 1
    lingers: float = 0.0
    wrote_in: float = 0.0
    served: Callable[[], Exception | None] = lambda: None
    refusals: list[Exception] = field(default_factory=list)  # what the next changes raise
    history: list[list[Hold | None]] = field(default_factory=list)

    @property
    def setups(self) -> Mapping[ShardKey, ShardSetup]:
        return {}

    @property
    def holds(self) -> list[Hold | None]:
        return [record.hold for record in self.records.values()]

    def covers(self, seconds: float) -> bool:
        return True

    def seals(self, record: ShardRecord, latest: int = 1) -> tuple[str, ...]:
        return ()

    async def change(self, changes: Mapping[ShardKey, Callable[[ShardRecord], ShardRecord]]) -> None:
        await trio.lowlevel.checkpoint()
        if not 0 < len(changes) <= MAX_TOGETHER:
            raise ValueError(f"{len(changes)} records together")
        if self.refusals:
            raise self.refusals.pop(0)
        self.records = {
            key: changes[key](record) if key in changes else record for key, record in self.records.items()
        }
        self.history.append(self.holds)

    async def wait_served(self, keys: Iterable[ShardKey], *, within: float) -> None:
        await trio.sleep(0.001)
        if (error := self.served()) is not None:
            await trio.sleep(within)
            raise error


def never_served() -> Exception:
    return FenceError("proxy b does not hold yet")


class FakeSnapshot:
    """A Snapshot of an RDB that is given; forks after `fork` seconds, then fails or is done."""

    def __init__(
        self, path: Path, content: bytes, fork: float, read: float, why: str, found: Mapping[str, Any]
    ) -> None:
        self._found = found
        self._path, self._content, self._fork, self._why = path, content, fork, why
        self._read = read
        self._began = trio.current_time()
        self.is_stopped = False

    @property
    def status(self) -> SnapshotStatus:
        if trio.current_time() - self._began < self._fork:
            return SnapshotStatus(SnapshotPhase.WAITING)
        if self._why:
            return SnapshotStatus(SnapshotPhase.FAILED, self._why)
        if trio.current_time() - self._began < self._fork + self._read:
            return SnapshotStatus(SnapshotPhase.FORKED, replid=REPLID, offset=100)
        if not self._path.exists():
            self._path.write_bytes(self._content)
        moment = SnapshotStatus(SnapshotPhase.DONE, replid=REPLID, offset=100)
        summary = RdbSummary(
            bytes=len(self._content),
            sha256=hashlib.sha256(self._content).hexdigest(),
            keys=2,
            keys_per_slot={0: 2},
            strays=0,
            expires=1,
            functions=0,
            functions_sha256="",
            databases=(0,),
            types={"string": 2},
            engine="redis 7.0.15",
            replid=REPLID,
            offset=100,
            version=10,
            longest=7,
            **self._found,
        )
        return replace(moment, bytes=len(self._content), keys=2, summary=summary)

    async def wait(self, *phases: SnapshotPhase) -> SnapshotStatus:
        assert phases == (SnapshotPhase.FORKED,)
        while (status := self.status).phase in (SnapshotPhase.CONNECTING, SnapshotPhase.WAITING):  # noqa: ASYNC110
            await trio.sleep(0.001)
        if status.phase is SnapshotPhase.FAILED:
            raise CopyError(status.why)
        return status

    async def stop(self) -> None:
        self.is_stopped = True
        if self.status.phase is not SnapshotPhase.DONE:
            self._path.unlink(missing_ok=True)


@dataclass
class FakeWork:
    """A Work that keeps what it is told."""

    wants: Mapping[str, Any]
    memo: dict[str, Any] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)
    saved: list[dict[str, Any]] = field(default_factory=list)
    aborted: trio.Event = field(default_factory=trio.Event)
    is_paused: bool = False

    @property
    def job(self) -> Job:
        return Job("1", CLUSTER, "backup", self.wants, memo=self.memo)

    @property
    def is_aborted(self) -> bool:
        return self.aborted.is_set()

    is_finishing = False
    why_kept_on = ""

    async def keep_on(self, why: str) -> None:
        raise AssertionError("nobody brings it to its end")

    async def wait_resumed(self) -> None:
        await trio.lowlevel.checkpoint()

    async def wait_aborted(self) -> None:
        await self.aborted.wait()

    async def save(self, memo: Mapping[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        self.memo = dict(memo)
        self.saved.append(self.memo)

    def show(self, stage: str, *, what: str = "", done: int = 0, total: int = 0, text: str = "") -> None:
        if not self.shown or self.shown[-1] != stage:
            self.shown.append(stage)


class Site:
    """A cluster of some shards, each a primary and, if wanted, a replica."""

    def __init__(self, shards: int, *, replicas: bool = True) -> None:
        self.engines: dict[Address, Engine] = {}
        records = {}
        for number, slots in enumerate(split_evenly(shards)):
            key = ShardKey(CLUSTER, number)
            nodes = (primary(number), replica(number)) if replicas else (primary(number),)
            records[key] = ShardRecord(key, 1, ShardState.OK, primary(number), nodes, slots=(slots,))
            self.engines[primary(number)] = Engine()
            if replicas:
                self.engines[replica(number)] = Engine(follows=primary(number))
        self.desk = FakeDesk(records)
        self.nodes = FakeNodes(self.engines)
        self.config: Backups | None = None
        self.fork = 0.01  # seconds
        self.reads_for = 0.02  # seconds
        self.whys: list[str] = []  # the next snapshots fail
        self.found: dict[str, Any] = {}  # in every RDB
        self.holds_at_start: list[list[Hold | None]] = []
        self.snapshots: list[FakeSnapshot] = []
        self.read: list[Address] = []

    def snapshot(self, end: End, path: Path, *, owned: Slots, families: object) -> Snapshot:
        content = b"rdb of " + str(end.address).encode()
        self.read.append(end.address)
        self.holds_at_start.append(self.desk.holds)
        why = self.whys.pop(0) if self.whys else ""
        made = FakeSnapshot(path, content, self.fork, self.reads_for, why, self.found)
        self.snapshots.append(made)
        return made

    async def identity(self, cluster: str) -> str:
        await trio.lowlevel.checkpoint()
        return OURS

    @asynccontextmanager
    async def nodes_of(self, cluster: str) -> AsyncIterator[FakeNodes]:
        yield self.nodes

    @property
    def tools(self) -> BackupTools:
        return BackupTools(
            nodes_of=self.nodes_of,
            end_of=lambda cluster, address: End(address),
            config_of=lambda cluster: self.config,
            families_of=lambda cluster: (),
            identity=self.identity,
            snapshot=self.snapshot,
            now=lambda: 1000.0,
        )

    def with_record(self, number: int, **changes: Any) -> None:
        key = ShardKey(CLUSTER, number)
        self.desk.records[key] = replace(self.desk.records[key], **changes)
