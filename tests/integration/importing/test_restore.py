"""`shardproxy restore` of the whole product: files and backups into other numbers of shards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from shardproxy.cli import main
from shardproxy.fleet import Fleet, RedisNode
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Proxy, StartProxy, config_of, wait_until
from tests.integration.importing.filling import LIBRARY, admin, fill, open_to_jobs

Client = Callable[..., redis.Redis]


def saved(fleet: Fleet, to: Path) -> list[str]:
    """RDB files of all primaries, as their nodes or an export have them."""
    files = []
    for shard in fleet.shards:
        node = shard.primary
        assert isinstance(node, RedisNode)
        node.ask("SAVE", timeout=30)
        file = to / f"export-{shard.index + 1:04d}.rdb"
        file.write_bytes((node.directory / "dump.rdb").read_bytes())
        files.append(str(file))
    return files


def same(capsys: pytest.CaptureFixture[str], a: Proxy, b: Proxy) -> dict[str, Any]:
    """What `shardproxy diff` says of two proxies."""
    capsys.readouterr()
    urls = [f"redis://{proxy.address()}" for proxy in (a, b)]
    code = main(["diff", *urls, "--rate", "100000", "--again", "0", "--output", "json"])
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (code == 0) == said["same"]
    return said


@pytest.fixture
def old(start_fleet: StartFleet, start_proxy: StartProxy, redis_client: Client) -> tuple[Fleet, Proxy]:
    fleet = start_fleet(shards=3, replicas=0)
    proxy = start_proxy(open_to_jobs(config_of(fleet)))
    client = redis_client(proxy)
    fill(client)
    client.function_load(LIBRARY)
    return fleet, proxy


@pytest.fixture
def new(start_fleet: StartFleet, start_proxy: StartProxy) -> Proxy:
    """Two shards, empty."""
    return start_proxy(open_to_jobs(config_of(start_fleet(shards=2, replicas=0))))


def test_three_shards_become_five_become_two(
    old: tuple[Fleet, Proxy],
    start_fleet: StartFleet,
    start_proxy: StartProxy,
    redis_client: Client,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    fleet, first = old
    before = first
    for shards in (5, 2):
        directory = tmp_path / str(shards)
        directory.mkdir()
        files = saved(fleet, directory)
        fleet = start_fleet(shards=shards, replicas=0)
        after = start_proxy(open_to_jobs(config_of(fleet)))
        assert main(["restore", "--to", "main", *admin(after), "--rdb", *files]) == 0, capsys.readouterr()
        said = same(capsys, first, after)
        assert said["same"], said
        assert redis_client(after).dbsize() == redis_client(before).dbsize()
        for shard in fleet.shards:
            assert isinstance(shard.primary, RedisNode)
            assert shard.primary.ask("FCALL", "twice", 0, 21) == 42
        before = after


def test_a_cluster_that_is_not_empty_is_left_alone(
    old: tuple[Fleet, Proxy],
    new: Proxy,
    redis_client: Client,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    fleet, first = old
    files = saved(fleet, tmp_path)
    client = redis_client(new)
    client.set("s:1", "mine")
    client.set("other", "mine")
    assert main(["restore", "--to", "main", *admin(new), "--rdb", *files]) == 1
    assert "the cluster is not empty" in capsys.readouterr().err
    assert client.dbsize() == 2
    assert main(["restore", "--to", "main", *admin(new), "--replace", "--rdb", *files]) == 0
    said = same(capsys, first, new)
    assert [entry["key"] for entry in said["keys"]] == ["other"]


def test_only_what_matches_is_restored(
    old: tuple[Fleet, Proxy],
    new: Proxy,
    redis_client: Client,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    files = saved(old[0], tmp_path)
    assert main(["restore", "--to", "main", *admin(new), "--match", "s:1?", "--rdb", *files]) == 0
    assert sorted(redis_client(new).scan_iter()) == [f"s:{n}".encode() for n in range(10, 20)]
    assert "did not match" in capsys.readouterr().out


def test_a_damaged_file_is_refused_before_anything_is_written(
    old: tuple[Fleet, Proxy],
    new: Proxy,
    redis_client: Client,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    files = saved(old[0], tmp_path)
    whole = Path(files[2]).read_bytes()
    for damaged in (whole[:-100], whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:]):
        Path(files[2]).write_bytes(damaged)
        assert main(["restore", "--to", "main", *admin(new), "--rdb", *files]) == 1
        assert "nothing was restored" in capsys.readouterr().err
        assert redis_client(new).dbsize() == 0


def test_a_proxy_that_is_killed_goes_on_when_it_is_back(
    start_fleet: StartFleet,
    start_proxy: StartProxy,
    redis_client: Client,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    source = start_fleet(shards=1, replicas=0)
    node = source.shards[0].primary
    assert isinstance(node, RedisNode)
    first = redis_client(node.address)
    populate(first, 400_000)
    files = saved(source, tmp_path)
    target = start_fleet(shards=2, replicas=0)
    proxy = start_proxy(open_to_jobs(config_of(target)))
    shards = [redis_client(shard.primary.address) for shard in target.shards]
    assert main(["restore", "--to", "main", *admin(proxy), "--detach", "--rdb", *files]) == 0
    wait_until(  # before that all of the files is read
        lambda: sum(shard.dbsize() for shard in shards) > 1000, "some keys are there", 240, interval=0.01
    )
    proxy.kill()
    assert sum(shard.dbsize() for shard in shards) < 400_000, "it was done before it was killed"
    proxy.begin()
    proxy.wait_ready()
    assert main(["jobs", "main", "1", "--wait", *admin(proxy)]) == 0, capsys.readouterr()
    assert redis_client(proxy).dbsize() == 400_000
    capsys.readouterr()
    end = f"redis://{proxy.address()}"
    assert main(["diff", f"redis://{node.address}", end, "--match", "*7", "--rate", "1000000"]) == 0


def populate(client: redis.Redis, count: int) -> None:
    for first in range(0, count, 10_000):
        with client.pipeline(transaction=False) as pipe:
            for number in range(first, first + 10_000):
                pipe.set(f"key:{number}", f"value {number} " * 8)
            pipe.execute()


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shardproxy.cli.waiting.POLL", 0.1)
