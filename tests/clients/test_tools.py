"""The engine's own tools against the proxy: redis-cli and redis-benchmark."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import redis

from tests.fixtures.clients import redis_cli
from tests.fixtures.proxy import Proxy


def test_redis_cli_speaks_resp2_and_resp3(proxy: Proxy) -> None:
    assert redis_cli(proxy, "SET", "greeting", "hello") == "OK\n"
    assert redis_cli(proxy, "GET", "greeting") == "hello\n"
    assert redis_cli(proxy, "-3", "GET", "greeting") == "hello\n"


def test_redis_cli_takes_it_for_a_cluster(proxy: Proxy) -> None:
    script = "".join(f"SET c:{i} {i}\nGET c:{i}\n" for i in range(50))
    assert redis_cli(proxy, "-c", stdin=script).split() == [x for i in range(50) for x in ("OK", str(i))]
    assert "cluster_state:ok" in redis_cli(proxy, "CLUSTER", "INFO")


def test_redis_cli_pipes_raw_commands(proxy: Proxy) -> None:
    script = "".join(f"SET p:{i} {i}\r\n" for i in range(1000))
    assert "errors: 0, replies: 1000" in redis_cli(proxy, "--pipe", stdin=script)


def test_redis_benchmark_runs_without_an_error(proxy: Proxy) -> None:
    done = subprocess.run(
        (
            *("redis-benchmark", "-h", proxy.host, "-p", str(proxy.port), "-q", "-n", "20000", "-r", "10000"),
            *("-c", "50", "-P", "16", "-t", "ping,set,get,incr,lpush,rpush,lpop,sadd,hset,mset"),
        ),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr or done.stdout
    assert "rror" not in done.stdout + done.stderr
    assert done.stdout.count("requests per second") == 11


def test_redis_cli_scans_every_key_once(proxy: Proxy, redis_client: Callable[..., redis.Redis]) -> None:
    names = [f"key:{i}" for i in range(500)]
    redis_client(proxy).mset(dict.fromkeys(names, "v"))
    assert sorted(redis_cli(proxy, "--scan").split()) == sorted(names)
    found = redis_cli(proxy, "--scan", "--pattern", "key:1?").split()
    assert sorted(found) == [f"key:{i}" for i in range(10, 20)]


def test_redis_cli_finds_big_keys(proxy: Proxy, redis_client: Callable[..., redis.Redis]) -> None:
    client = redis_client(proxy)
    client.mset({f"small:{i}": "v" for i in range(50)})
    client.set("big", "v" * 5000)
    client.rpush("list", *range(300))
    client.hset("hash", mapping={f"f{i}": i for i in range(20)})
    report = redis_cli(proxy, "--bigkeys")
    assert "Sampled 53 keys in the keyspace" in report
    assert 'Biggest string found ""big"" has 5000 bytes' in report.replace("'", '"')
    assert 'Biggest   list found ""list"" has 300 items' in report.replace("'", '"')
    assert "Sampled 53 keys in the keyspace" in redis_cli(proxy, "--memkeys")
