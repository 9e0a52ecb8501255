"""A cluster on record, and fakes of what asks it, loads it and copies into it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import trio

from shardproxy.archive import Archive, open_place
from shardproxy.importing.means import Means
from shardproxy.jobs.allowed import Allowed
from shardproxy.jobs.job import Job, JobState
from shardproxy.model import Address, SlotRange, split_evenly
from shardproxy.model.replication import ShardKey
from shardproxy.nodes import NodeLinks
from shardproxy.replication.interface import (
    CopyError,
    CopyFault,
    CopyPhase,
    CopyPlan,
    CopyStatus,
    End,
    LoadPlan,
    LoadStatus,
    RdbSummary,
)
from shardproxy.store.record import ShardRecord, ShardState
from shardproxy.wire.reply import Failure, Reply

CLUSTER = "sessions"
ANYTHING = Allowed(("/", "s3://backups"), ("/",))


def address(number: int) -> Address:
    return Address("10.0.0.1", 7000 + number)


def record(number: int, slots: tuple[SlotRange, ...]) -> ShardRecord:
    key, node = ShardKey(CLUSTER, number), address(number)
    return ShardRecord(key, 1, ShardState.OK, node, (node,), slots=slots, run_id=f"run{number}", changed=1)


def records(shards: int = 2) -> dict[ShardKey, ShardRecord]:
    made = [record(number, (slots,)) for number, slots in enumerate(split_evenly(shards))]
    return {one.key: one for one in made}


class Desk:
    """A SlotDesk that is asked for records alone."""

    cluster = CLUSTER
    term = 1

    lingers = wrote_in = 0.0
    setups: Mapping[ShardKey, Any] = {}

    def __init__(self, shards: int = 2) -> None:
        self.records = records(shards)

    def promote(self, number: int) -> None:
        """The shard has another primary."""
        key = ShardKey(CLUSTER, number)
        one = self.records[key]
        other = Address("10.0.0.2", 7000 + number)
        self.records[key] = replace(one, epoch=one.epoch + 1, primary=other, run_id="other")

    def fence(self, number: int) -> None:
        key = ShardKey(CLUSTER, number)
        self.records[key] = self.records[key].fenced()

    def covers(self, seconds: float) -> bool:
        return True

    def seals(self, record: ShardRecord, latest: int = 1) -> tuple[str, ...]:
        return ()

    async def change(self, changes: Any) -> None:
        raise AssertionError("neither restore nor import changes a record")

    async def wait_served(self, keys: Any, *, within: float) -> None:
        raise AssertionError("nor do they wait for one")


class FakeWork:
    """A Work whose operator is the test; `memos` are all that were saved."""

    def __init__(self, wants: Mapping[str, Any], memo: Mapping[str, Any] | None = None) -> None:
        self.job = Job("1", CLUSTER, "toy", wants, JobState.RUNNING, memo=memo or {})
        self.memos: list[dict[str, Any]] = []
        self.shown: list[str] = []
        self.is_paused = self.is_aborted = self.is_finishing = False
        self.why_kept_on = ""

    async def wait_resumed(self) -> None:
        while self.is_paused and not self.is_aborted:  # noqa: ASYNC110
            await trio.sleep(0.1)

    async def wait_aborted(self) -> None:
        while not self.is_aborted:  # noqa: ASYNC110
            await trio.sleep(0.1)

    async def keep_on(self, why: str) -> None:
        self.is_finishing, self.why_kept_on = False, why

    async def save(self, memo: Mapping[str, Any]) -> None:
        self.memos.append(dict(memo))
        self.job = replace(self.job, memo=dict(memo))

    def show(self, stage: str, *, what: str = "", done: int = 0, total: int = 0, text: str = "") -> None:
        self.shown.append(stage)


@dataclass
class Engines:
    """What each node says of itself: replies of INFO by address; others are not reached."""

    keys: dict[int, int] = field(default_factory=dict)  # by port
    version: str = "7.0.15"
    max_memory: int = 0
    max_value: int = 512 << 20
    requests: list[tuple[Any, ...]] = field(default_factory=list)

    async def __aenter__(self) -> Engines:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def request_many(self, node: Address, requests: Sequence[Any], **_: Any) -> list[Reply]:
        await trio.lowlevel.checkpoint()
        keys = self.keys.get(node.port, 0)
        return [
            f"redis_version:{self.version}\r\nrun_id:x\r\n",
            f"role:master\r\nmaster_replid:{'a' * 40}\r\nmaster_repl_offset:77\r\n",
            f"db0:keys={keys},expires=0,avg_ttl=0\r\n" if keys else "# Keyspace\r\n",
            f"used_memory:1000\r\nmaxmemory:{self.max_memory}\r\nmaxmemory_policy:noeviction\r\n",
            Failure("NOPERM"),
            [],
            "",
            [b"proto-max-bulk-len", b"%d" % self.max_value],
        ]

    async def request(self, node: Address, *args: Any, **_: Any) -> Reply:
        self.requests.append((node, *args))
        await trio.lowlevel.checkpoint()
        return b"payload"


Does = Callable[["FakeLoader"], Awaitable[None]]


class FakeLoader:
    """A Loader that does what a test says, and sets `status`."""

    def __init__(self, plan: LoadPlan, does: Does) -> None:
        self.plan, self._does = plan, does
        self.status = LoadStatus(positions=plan.positions)
        self.is_stopped = False

    async def wait(self) -> LoadStatus:
        await self._does(self)
        self.status = replace(self.status, is_over=True)
        return self.status

    async def stop(self) -> None:
        self.is_stopped = True


class FakeCopier:
    """A Copier that is what a test makes of it."""

    def __init__(self, plan: CopyPlan) -> None:
        self.plan = plan
        self.status = CopyStatus(CopyPhase.COPYING, replid="a" * 40)
        self.reached: list[int] = []
        self.given: list[tuple[End, ...]] = []
        self.differs = ""
        self.meanwhile = 0  # keys that change while a sample is compared
        self.is_stopped = False

    def become(self, phase: CopyPhase, **fields: Any) -> None:
        self.status = replace(self.status, phase=phase, **fields)

    async def wait_close(self) -> None:
        raise AssertionError("nobody waits here")

    async def reach(
        self, offset: int, replid: str, *, within: float, replicas: int = 0, rests: bool = False
    ) -> None:
        await trio.lowlevel.checkpoint()
        if replid != self.status.replid:
            raise CopyError(f"the copy is of another history ({self.status.replid:.8})", CopyFault.LATE)
        self.reached.append(offset)

    async def verify(self, *, within: float) -> int:
        await trio.lowlevel.checkpoint()
        if self.differs:
            raise CopyError(self.differs)
        self.status = replace(self.status, keys=self.status.keys + self.meanwhile)
        return 10

    async def compare(self, *, within: float) -> int:
        raise AssertionError("a sample is compared here")

    def keep(self, until: float) -> None:
        self.kept_until = until

    async def rest(self, *, within: float) -> None:
        raise AssertionError("nobody has it rest")

    def go_on(self) -> None:
        raise AssertionError("it does not rest")

    async def sources(self, sources: Sequence[End]) -> None:
        self.given.append(tuple(sources))

    async def stop(self) -> None:
        self.is_stopped = True


@dataclass
class World:
    """All that the workers are given, and what they made of it."""

    engines: Engines = field(default_factory=Engines)
    does: list[Does] = field(default_factory=list)  # what each loader does, in turn; the last for all others
    loaders: list[FakeLoader] = field(default_factory=list)
    copiers: list[FakeCopier] = field(default_factory=list)
    summary: RdbSummary | CopyError | None = None
    spool: Path = Path("/nonexistent")
    allowed: Allowed = ANYTHING
    archive: Any = None

    @property
    def means(self) -> Means:
        return Means(
            end_of=lambda _, node: End(node),
            links_of=lambda _: cast("NodeLinks", self.engines),
            families_of=lambda _: (),
            archive=self._archive,
            start_loader=self._loader,
            start_copier=self._copier,
            rdb_read=self._rdb_read,
            allowed_of=lambda _: self.allowed,
            spool=lambda _: self.spool,
        )

    async def _archive(
        self, cluster: str, place: str, key_file: str | None, *, unencrypted: bool = False
    ) -> Archive:
        await trio.lowlevel.checkpoint()
        if self.archive is not None:
            return cast("Archive", self.archive)
        return Archive(open_place(place))

    def _loader(self, plan: LoadPlan) -> FakeLoader:
        does = self.does[min(len(self.loaders), len(self.does) - 1)]
        self.loaders.append(FakeLoader(plan, does))
        return self.loaders[-1]

    def _copier(self, plan: CopyPlan) -> FakeCopier:
        self.copiers.append(FakeCopier(plan))
        return self.copiers[-1]

    async def _rdb_read(self, path: Path, families: Any) -> RdbSummary:
        await trio.lowlevel.checkpoint()
        if isinstance(self.summary, CopyError):
            raise self.summary
        assert self.summary is not None
        return self.summary


def summary_of(**fields: Any) -> RdbSummary:
    made: dict[str, Any] = {
        "bytes": 100,
        "sha256": "",
        "keys": 10,
        "keys_per_slot": {},
        "strays": 0,
        "expires": 0,
        "functions": 0,
        "functions_sha256": "",
        "databases": (0,),
        "types": {"string": 10},
        "engine": "redis 7.0.15",
    }
    return RdbSummary(**{**made, **fields})


async def until(condition: Callable[[], object]) -> None:
    """Wait until it is so. Threads take real time, in which a clock that jumps passes seconds."""
    with trio.fail_after(5_000):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.1)
