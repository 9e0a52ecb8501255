"""`shardproxy restore NAME --from DIR`: leftovers are skipped, what is damaged or not opened is refused."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import redis
import trio
from redis.crc import key_slot

from shardproxy.archive import Archive, Cut, Key, Manifest, Origin, ShardFile, open_place
from shardproxy.archive.archive import file_context
from shardproxy.cli import main
from shardproxy.fleet import Fleet, RedisNode
from shardproxy.model import SlotRange, split_evenly
from shardproxy.replication.rdb import rdb_read
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Proxy, StartProxy, config_of
from tests.integration.importing.filling import admin, open_to_jobs

Client = Callable[..., redis.Redis]
ID = "a1b2c3d4e5f60718"


async def backed_up(fleet: Fleet, place: Path, name: str, key: Key | None = None) -> None:
    """A backup as `shardproxy backup create` leaves it."""
    archive = Archive(open_place(str(place)), key)
    files = []
    for shard, slots in zip(fleet.shards, split_evenly(len(fleet.shards)), strict=True):
        node = shard.primary
        assert isinstance(node, RedisNode)
        node.ask("SAVE", timeout=30)
        files.append(await _file(archive, node.directory / "dump.rdb", shard.index, slots, name))
    now = time.time()
    await archive.commit(
        Manifest(ID, name, "main", Origin.MANUAL, "1", now, now, Cut(True, held=0.02, at=now), tuple(files))
    )


async def _file(archive: Archive, rdb: Path, number: int, slots: SlotRange, name: str) -> ShardFile:
    found = await rdb_read(rdb, owned=(slots,))
    file = f"shard-{number:04d}-{ID[:8]}.rdb"
    size, digest = await archive.put(rdb, name, file, what=file_context(ID, number))
    return ShardFile(
        number=number,
        shard=str(number),
        file=file,
        slots=(slots,),
        node="10.0.0.1:6379",
        role="replica",
        engine=found.engine,
        replid=found.replid,
        offset=found.offset,
        bytes=found.bytes,
        sha256=found.sha256,
        stored_bytes=size,
        stored_sha256=digest,
        keys=found.keys,
        strays=found.strays,
        expires=found.expires,
        functions=found.functions,
        functions_sha256=found.functions_sha256,
        databases=found.databases,
    )


@pytest.fixture
def old(start_fleet: StartFleet, start_proxy: StartProxy, redis_client: Client) -> Fleet:
    """Three shards of 300 keys, and a key on one of them that is another one's."""
    fleet = start_fleet(shards=3, replicas=0)
    client = redis_client(start_proxy(open_to_jobs(config_of(fleet))))
    for number in range(300):
        client.set(f"key:{number}", number)
    client.set("short", "x", px=60_000)
    foreign = redis_client(fleet.shards[2].primary.address)
    assert foreign.set("key:0", "left over", nx=True) or foreign.set("key:1", "left over", nx=True)
    return fleet


@pytest.fixture
def new(start_fleet: StartFleet, start_proxy: StartProxy) -> Proxy:
    return start_proxy(open_to_jobs(config_of(start_fleet(shards=2, replicas=0))))


def test_a_backup_comes_back_without_leftovers(
    old: Fleet, new: Proxy, redis_client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trio.run(backed_up, old, tmp_path / "backups", "nightly")
    where = ("nightly", "--from", str(tmp_path / "backups"), "--to", "main", *admin(new))
    assert main(["restore", *where, "--plan"]) == 0
    said = capsys.readouterr().out
    assert "all shards at one moment" in said
    assert "to be skipped: 1" in said
    assert redis_client(new).dbsize() == 0
    assert main(["restore", *where]) == 0
    assert "1 left over from moves of slots" in capsys.readouterr().out
    client = redis_client(new)
    assert client.mget([f"key:{n}" for n in range(300)]) == [str(n).encode() for n in range(300)]
    assert client.dbsize() == 301
    assert 0 < client.pttl("short") <= 60_000


def test_an_encrypted_backup_comes_back_with_its_key_alone(
    old: Fleet, new: Proxy, redis_client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cryptography", reason="encryption is an extra")
    key_file = tmp_path / "key"
    key_file.write_bytes(base64.b64encode(os.urandom(32)))
    sealed = partial(backed_up, old, tmp_path / "backups", "nightly", Key.read(key_file))
    trio.run(sealed)
    where = ("nightly", "--from", str(tmp_path / "backups"), "--to", "main", *admin(new))
    assert main(["restore", *where]) == 1
    assert "say which file has it" in capsys.readouterr().err
    assert main(["restore", *where, "--key-file", str(key_file)]) == 0
    assert redis_client(new).dbsize() == 301


def test_a_value_that_a_shard_does_not_take_is_refused_before_anything_is_written(
    start_fleet: StartFleet,
    start_proxy: StartProxy,
    old: Fleet,
    redis_client: Client,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = old.shards[2].primary
    key = next(key for n in range(100) if key_slot((key := f"large:{n}").encode()) > 16000)
    redis_client(source.address).set(key, os.urandom(2 << 20))
    trio.run(backed_up, old, tmp_path / "backups", "nightly")
    fleet = start_fleet(shards=2, replicas=0)
    for shard in fleet.shards:
        redis_client(shard.primary.address).config_set("proto-max-bulk-len", 1 << 20)
    proxy = start_proxy(open_to_jobs(config_of(fleet)))
    where = ("nightly", "--from", str(tmp_path / "backups"), "--to", "main", *admin(proxy))
    assert main(["restore", *where]) == 1
    said = capsys.readouterr().err
    assert "takes 1mb at most: raise its proto-max-bulk-len" in said
    assert "Nothing was restored" in said
    assert redis_client(proxy).dbsize() == 0


def test_a_damaged_backup_is_refused_before_anything_is_written(
    old: Fleet, new: Proxy, redis_client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trio.run(backed_up, old, tmp_path / "backups", "nightly")
    where = ("--from", str(tmp_path / "backups"), "--to", "main", *admin(new))
    assert main(["restore", "weekly", *where]) == 1
    assert "there is no backup weekly" in capsys.readouterr().err
    file = tmp_path / "backups" / "nightly" / f"shard-0001-{ID[:8]}.rdb"
    file.chmod(0o600)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert main(["restore", "nightly", *where]) == 1
    assert "nothing was restored" in capsys.readouterr().err
    assert redis_client(new).dbsize() == 0
