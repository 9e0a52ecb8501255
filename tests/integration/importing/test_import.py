"""`shardproxy import` of the whole product: what others have comes over while they are written to."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from shardproxy.cli import main
from shardproxy.fleet import Fleet, RedisNode
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Proxy, StartProxy, config_of, wait_until
from tests.fixtures.redis_cluster import open_cluster
from tests.fixtures.sentinel import StartSentinels
from tests.integration.importing.filling import LIBRARY, Writers, admin, fill, open_to_jobs

Client = Callable[..., redis.Redis]
CAUGHT_UP = 60.0  # seconds


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shardproxy.cli.waiting.POLL", 0.1)
    monkeypatch.setattr("shardproxy.cli.import_.POLL", 0.1)


@pytest.fixture
def new(start_fleet: StartFleet, start_proxy: StartProxy) -> Proxy:
    return start_proxy(open_to_jobs(config_of(start_fleet(shards=3, replicas=1))))


def job(proxy: Proxy) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(proxy.get("/api/jobs?cluster=main")[1])["jobs"][-1]
    return found


def follow(proxy: Proxy, url: str) -> None:
    assert main(["import", url, "--to", "main", "--follow", "--detach", *admin(proxy)]) == 0


def wait_following(proxy: Proxy) -> None:
    def is_following() -> bool:
        found = job(proxy)
        assert not found["is_over"], found
        return bool(found["progress"]["stage"] == "following")

    wait_until(is_following, lambda: f"it follows: {job(proxy)}", timeout=CAUGHT_UP)


def finished(capsys: pytest.CaptureFixture[str], proxy: Proxy) -> None:
    code = main(["import", "finish", "main", *admin(proxy)])
    said = capsys.readouterr()
    assert code == 0, said


def same(capsys: pytest.CaptureFixture[str], url: str, proxy: Proxy) -> None:
    capsys.readouterr()
    code = main(["diff", url, f"redis://{proxy.address()}", "--rate", "100000", "--output", "json"])
    said = capsys.readouterr()
    assert code == 0, said.out + said.err


def test_a_standalone_redis_is_followed_while_it_is_written_to(
    start_fleet: StartFleet, new: Proxy, redis_client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    old = start_fleet(shards=1, replicas=1)
    address = old.shards[0].primary.address
    url = f"redis://{address}"
    client = redis_client(address)
    fill(client)
    client.function_load(LIBRARY)
    with Writers(lambda: redis_client(address)) as writers:
        wait_until(lambda: writers.total > 500, "they write")
        follow(new, url)
        wait_following(new)
        began = writers.total
        wait_until(lambda: writers.total > began + 2000, "they write on", timeout=30)
    assert not writers.errors
    finished(capsys, new)
    same(capsys, url, new)
    assert redis_client(new).execute_command("FCALL", "twice", 0, 21) == 42
    assert job(new)["state"] == "done"
    assert job(new)["result"]["compared"] > 0


def test_a_backup_waits_until_an_import_that_follows_is_over(
    start_fleet: StartFleet,
    new: Proxy,
    redis_client: Client,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    address = start_fleet(shards=1, replicas=0).shards[0].primary.address
    fill(redis_client(address), 200)
    follow(new, f"redis://{address}")
    wait_following(new)
    create = ["backup", "create", "main", "--name", "monday", "--to", str(tmp_path), *admin(new)]
    capsys.readouterr()
    assert main(create) == 1
    assert "import 1 of main is running: one at a time" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    finished(capsys, new)
    assert main(create) == 0, capsys.readouterr()
    assert (tmp_path / "monday" / "manifest.json").exists()


def test_finishing_is_refused_while_somebody_writes(
    start_fleet: StartFleet, new: Proxy, redis_client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    old = start_fleet(shards=1, replicas=0)
    address = old.shards[0].primary.address
    fill(redis_client(address), 200)
    with Writers(lambda: redis_client(address), 2):
        assert (
            main(["import", f"redis://{address}", "--to", "main", "--follow", "--detach", *admin(new)]) == 0
        )
        wait_following(new)
        for _ in range(3):
            assert main(["import", "finish", "main", *admin(new)]) == 1
            assert "not finished" in capsys.readouterr().err
    finished(capsys, new)
    same(capsys, f"redis://{address}", new)


def test_one_behind_sentinels_is_followed_over_its_failover(
    start_sentinels: StartSentinels, new: Proxy, redis_client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    sentinels = start_sentinels(replicas=2)
    where = ",".join(str(sentinel.address) for sentinel in sentinels.sentinels)
    url = f"sentinel://{where}/{sentinels.names[0]}"
    fill(redis_client(sentinels.primary().address), 300)

    def connect() -> redis.Redis:
        hosts = [(sentinel.address.host, sentinel.port) for sentinel in sentinels.sentinels]
        found: redis.Redis = redis.sentinel.Sentinel(hosts).master_for(sentinels.names[0], socket_timeout=2)
        return found

    with Writers(connect, 2) as writers:
        follow(new, url)
        wait_following(new)
        before = sentinels.primary()
        sentinels.sentinels[0].ask("SENTINEL", "FAILOVER", sentinels.names[0])
        wait_until(lambda: sentinels.primary() is not before, "another primary is named", timeout=30)
        began = writers.total
        wait_until(lambda: writers.total > began + 1000, "they write to it", timeout=30)
        wait_following(new)
    wait_until(sentinels.is_whole, "all follow the new primary", timeout=30)
    finished(capsys, new)
    same(capsys, url, new)


def test_a_redis_cluster_is_followed_over_its_failover(
    new: Proxy, redis_client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_cluster(3, 1) as cluster:
        url = f"redis://{cluster.seeds[0]}"
        host, port = cluster.nodes[0].address.host, cluster.nodes[0].port
        with redis.RedisCluster(host, port) as client:
            fill(client, 500)
        with Writers(lambda: redis.RedisCluster(host, port), 2) as writers:
            follow(new, url)
            wait_following(new)
            cluster.nodes[4].ask("CLUSTER", "FAILOVER")
            wait_until(lambda: cluster.nodes[4].role == "master", "it has another primary", timeout=20)
            began = writers.total
            wait_until(lambda: writers.total > began + 1000, "they write on", timeout=30)
            wait_following(new)
        cluster.wait_whole()
        finished(capsys, new)
        same(capsys, url, new)


def test_one_pass_takes_what_is_there(
    start_fleet: StartFleet, new: Proxy, redis_client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    address = start_fleet(shards=1, replicas=0).shards[0].primary.address
    fill(redis_client(address), 300)
    assert main(["import", f"redis://{address}", "--to", "main", *admin(new)]) == 0
    same(capsys, f"redis://{address}", new)


def test_a_primary_of_the_new_one_is_killed_meanwhile(
    start_fleet: StartFleet, start_proxy: StartProxy, redis_client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet: Fleet = start_fleet(shards=2, replicas=1)
    new = start_proxy(open_to_jobs(config_of(fleet)))
    address = start_fleet(shards=1, replicas=0).shards[0].primary.address
    fill(redis_client(address), 500)
    with Writers(lambda: redis_client(address), 2) as writers:
        assert (
            main(["import", f"redis://{address}", "--to", "main", "--follow", "--detach", *admin(new)]) == 0
        )
        wait_following(new)
        primary = fleet.shards[0].primary
        assert isinstance(primary, RedisNode)
        primary.kill()
        time.sleep(0.5)
        began = writers.total
        wait_until(lambda: writers.total > began + 1000, "they write on", timeout=30)
        wait_until(lambda: job(new)["progress"]["stage"] == "following", "it follows again", timeout=60)
    finished(capsys, new)
    same(capsys, f"redis://{address}", new)


def test_it_is_given_up_and_the_old_one_is_as_it_was(
    start_fleet: StartFleet, new: Proxy, redis_client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    address = start_fleet(shards=1, replicas=0).shards[0].primary.address
    client = redis_client(address)
    fill(client, 100)
    before = client.dbsize()
    follow(new, f"redis://{address}")
    wait_following(new)
    assert main(["import", "abort", "main", *admin(new)]) == 0
    wait_until(lambda: job(new)["state"] == "aborted", "it is over")
    assert client.dbsize() == before
    wait_until(lambda: client.info("replication")["connected_slaves"] == 0, "nobody reads it any more")
