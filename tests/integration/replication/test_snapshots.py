"""An engine's RDB, taken as a replica would: whole, its own, and never counted as one."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import hiredis
import pytest
import trio

from shardproxy.config import Credentials
from shardproxy.dataplane.tls import NodeTlsSettings
from shardproxy.fleet import Fleet, RedisNode
from shardproxy.model import SlotRange
from shardproxy.replication.interface import CopyError, End, SnapshotPhase
from shardproxy.replication.rdb import RdbError, rdb_read
from shardproxy.replication.snapshot import EngineSnapshot, snapshot
from tests.fixtures.certificates import Authority
from tests.fixtures.contents import LIBRARY, every_type, held, pipeline
from tests.fixtures.engines import StartFleet
from tests.fixtures.fake_engine import Cut, FakeEngine

SOON = 20.0  # seconds


def primary_of(fleet: Fleet) -> RedisNode:
    node = fleet.shards[0].primary
    assert isinstance(node, RedisNode)
    return node


async def taken(one: EngineSnapshot) -> None:
    with trio.fail_after(SOON):
        await one.wait(SnapshotPhase.DONE)


@pytest.mark.parametrize("form", ["yes", "no"], ids=["diskless", "from a file"])
async def test_a_file_is_the_engines_own_and_loads_into_another(
    start_fleet: StartFleet, tmp_path: Path, form: str
) -> None:
    fleet = start_fleet(shards=1, replicas=0)
    node = primary_of(fleet)
    node.ask("CONFIG", "SET", "repl-diskless-sync", form)
    pipeline(node, every_type())
    before = held([node])
    path = tmp_path / "one.rdb"
    async with snapshot(End(node.address), path) as one:
        await taken(one)
        status = one.status
    assert status.summary is not None
    summary = status.summary
    data = path.read_bytes()
    assert (summary.bytes, summary.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert (summary.keys, sum(summary.keys_per_slot.values()), summary.strays) == (
        len(before),
        len(before),
        0,
    )
    assert (summary.functions, summary.databases, summary.is_checked) == (1, (0,), True)
    assert summary.engine.startswith("redis ")
    assert (summary.replid, summary.offset) == (status.replid, status.offset)
    assert path.stat().st_mode & 0o777 == 0o600
    assert await rdb_read(path) == summary
    other = fleet.open_node(args=("--dbfilename", "one.rdb", "--dir", str(tmp_path)))
    assert isinstance(other, RedisNode)
    assert held([other]) == before
    assert LIBRARY in other.ask("FUNCTION", "LIST", "WITHCODE")[0]


async def test_a_reader_is_no_replica(start_fleet: StartFleet, tmp_path: Path) -> None:
    """Neither WAIT nor min-replicas-to-write may count it."""
    node = primary_of(start_fleet(shards=1, replicas=0))
    pipeline(node, [("SET", f"key-{n}", "x" * 1000) for n in range(2000)])
    node.ask("CONFIG", "SET", "rdb-key-save-delay", 500)  # microseconds: it reads for a second
    async with snapshot(End(node.address), tmp_path / "one.rdb") as one:
        with trio.fail_after(SOON):
            await one.wait(SnapshotPhase.READING)
        node.ask("SET", "written", 1)
        assert node.ask("WAIT", 1, 50) == 0
        node.ask("CONFIG", "SET", "min-replicas-to-write", 1)
        with pytest.raises(hiredis.ReplyError, match="NOREPLICAS"):
            node.ask("SET", "written", 2)
        assert one.status.phase is SnapshotPhase.READING
        await taken(one)


async def test_what_is_written_after_the_fork_is_not_in_it(start_fleet: StartFleet, tmp_path: Path) -> None:
    node = primary_of(start_fleet(shards=1, replicas=0))
    pipeline(node, [("SET", f"key-{n}", "x" * 1000) for n in range(5000)])
    async with snapshot(End(node.address), tmp_path / "one.rdb") as one:
        with trio.fail_after(SOON):
            forked = await one.wait(SnapshotPhase.FORKED)
        assert forked.offset >= 0
        pipeline(node, [("DEL", f"key-{n}") for n in range(5000)])
        await taken(one)
        assert one.status.summary is not None
        assert one.status.summary.keys == 5000


async def test_keys_of_other_slots_are_strays(start_fleet: StartFleet, tmp_path: Path) -> None:
    node = primary_of(start_fleet(shards=1, replicas=0))
    pipeline(node, [("SET", "foo", 1), ("SET", "bull:foo:1", 1), ("SET", "hello", 1)])
    owned = (SlotRange(12182, 12182),)  # of foo
    async with snapshot(
        End(node.address), tmp_path / "one.rdb", owned=owned, families=[("bull:{queue}:*", "{queue}")]
    ) as one:
        await taken(one)
        summary = one.status.summary
    assert summary is not None
    assert (summary.keys, summary.strays, summary.keys_per_slot) == (3, 1, {12182: 2, 866: 1})


async def test_a_password_and_tls_are_spoken(
    start_fleet: StartFleet, tmp_path: Path, authority: Authority
) -> None:
    tls = authority.engine("node", "node.test")
    node = primary_of(start_fleet(shards=1, replicas=0, password="secret", tls=tls))
    node.ask("SET", "key", "value")
    ca = tls.ca.read_text()
    ends = {
        "good": End(node.address, Credentials(None, "secret"), NodeTlsSettings(ca, None, "node.test")),
        "password": End(node.address, Credentials(None, "wrong"), NodeTlsSettings(ca, None, "node.test")),
        "name": End(node.address, Credentials(None, "secret"), NodeTlsSettings(ca, None, "other.test")),
    }
    async with snapshot(ends["good"], tmp_path / "one.rdb") as one:
        await taken(one)
        assert one.status.keys == 1
    for wrong, word in (("password", "WRONGPASS"), ("name", "certificate")):
        async with snapshot(ends[wrong], tmp_path / "two.rdb") as one:
            with pytest.raises(CopyError, match=word):
                await taken(one)
    assert not (tmp_path / "two.rdb").exists()


async def test_a_file_that_is_there_is_left_as_it_is(start_fleet: StartFleet, tmp_path: Path) -> None:
    node = primary_of(start_fleet(shards=1, replicas=0))
    path = tmp_path / "one.rdb"
    path.write_text("precious")
    async with snapshot(End(node.address), path) as one:
        with pytest.raises(CopyError, match="exists"):
            await taken(one)
    assert path.read_text() == "precious"


async def test_an_engine_that_dies_in_the_middle_leaves_no_file(
    start_fleet: StartFleet, tmp_path: Path
) -> None:
    node = primary_of(start_fleet(shards=1, replicas=0, args=("--rdb-key-save-delay", "1000")))
    pipeline(node, [("SET", f"key-{n}", "x" * 1000) for n in range(50_000)])
    path = tmp_path / "one.rdb"
    async with snapshot(End(node.address), path) as one:
        with trio.fail_after(SOON):
            await one.wait(SnapshotPhase.READING)
        assert path.exists()
        node.kill()
        with pytest.raises(CopyError, match="log says why"):
            await taken(one)
    assert not path.exists()


async def test_one_that_is_stopped_leaves_no_file(start_fleet: StartFleet, tmp_path: Path) -> None:
    node = primary_of(start_fleet(shards=1, replicas=0, args=("--repl-diskless-sync-delay", "60")))
    path = tmp_path / "one.rdb"
    async with snapshot(End(node.address), path) as one:
        with trio.fail_after(SOON):
            await one.wait(SnapshotPhase.WAITING)
    assert not path.exists()
    assert one.status.phase is SnapshotPhase.FAILED


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"-NOMASTERLINK Can't SYNC while not connected with my master\r\n", "NOMASTERLINK"),
        (b"+FULLRESYNC id 7\r\n$20\r\nREDIS0010\xff" + bytes(10), "were announced"),
        (b"+FULLRESYNC id 7\r\n$18\r\nREDIS0010\xff" + bytes([1] * 8), "checksum"),
        (b"+FULLRESYNC id 7\r\n$EOF:" + b"m" * 40 + b"\r\nREDIS0010\xff" + bytes(8) + b"n" * 40, "mark"),
        (b"+FULLRESYNC id 7\r\n$EOF:" + b"m" * 40 + b"\r\nREDIS0010\xff", "in the middle"),
        (b"+FULLRESYNC id 7\r\n$18\r\nREDIS0099\x1e\x01k" + bytes(8), "type 30"),
        (b"+CONTINUE\r\n", "CONTINUE"),
        (b"HTTP/1.1 400 no\r\n", "HTTP"),
    ],
)
async def test_what_is_no_whole_rdb_is_refused(tmp_path: Path, answer: bytes, why: str) -> None:
    engine = FakeEngine(lambda _, request: Cut(answer) if request[0] == b"PSYNC" else b"+OK\r\n")
    path = tmp_path / "one.rdb"
    try:
        async with snapshot(End(engine.address), path) as one:
            with pytest.raises(CopyError, match=why):
                await taken(one)
    finally:
        engine.close()
    assert not path.exists()


async def test_a_file_that_is_cut_or_damaged_is_no_rdb(start_fleet: StartFleet, tmp_path: Path) -> None:
    node = primary_of(start_fleet(shards=1, replicas=0))
    pipeline(node, every_type())
    path = tmp_path / "one.rdb"
    async with snapshot(End(node.address), path) as one:
        await taken(one)
    data = path.read_bytes()
    for damaged, why in (
        (data[:-100], "cut"),
        (data[:5000] + bytes([data[5000] ^ 1]) + data[5001:], ""),
        (data + b"*1", "follows its end"),
        (b"PK" + data, "no RDB"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(RdbError, match=f"one.rdb.*{why}"):
            await rdb_read(path)
    with pytest.raises(RdbError, match="No such file"):
        await rdb_read(tmp_path / "none.rdb")


class _Stuck:
    """Stands in for a native snapshot whose thread hangs in a write to a disk that does not answer."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def stop(self) -> None:
        self.over.wait(60)


async def test_a_thread_that_hangs_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shardproxy.replication.snapshot.STOP_WITHIN", 0.05)
    one = EngineSnapshot.__new__(EngineSnapshot)
    stuck = _Stuck()
    one._native = stuck  # type: ignore[assignment]
    try:
        with trio.fail_after(SOON), trio.CancelScope() as scope:
            scope.cancel()
            await one.stop()
    finally:
        stuck.over.set()
