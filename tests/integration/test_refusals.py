"""What an engine refuses is told as one Redis tells it: at once, in its words, and for no false reason."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import redis

from shardproxy.fleet import Fleet, RedisNode, free_port
from tests.fixtures.clients import ReplyError, Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Proxy, StartProxy, cluster_of, config_of, executable, wait_until

Open = Callable[..., Wire]
Connect = Callable[..., "redis.Redis"]
MIB = 1 << 20
FIRST, SECOND = "bar", "foo"  # keys of two shards: slots 5061 and 12182
BREAKABLE = ("--enable-protected-configs", "yes")  # its directory may be taken away
SOON = 1.5  # seconds; half of what a request would wait for a failover


@pytest.fixture(scope="module")
def halves(start_fleet_for_module: StartFleet) -> Fleet:
    return start_fleet_for_module(shards=2, replicas=0, args=BREAKABLE)


@pytest.fixture(scope="module")
def proxy(halves: Fleet, start_proxy_for_module: StartProxy) -> Proxy:
    return start_proxy_for_module(halves)


@pytest.fixture(scope="module")
def plain(start_fleet_for_module: StartFleet) -> RedisNode:
    """What one Redis says."""
    return primary(start_fleet_for_module(shards=1, replicas=0, args=BREAKABLE), 0)


def primary(fleet: Fleet, shard: int) -> RedisNode:
    node = fleet.shards[shard].primary
    assert isinstance(node, RedisNode)
    return node


# Ills of a node, each for as long as its context lasts.


@contextmanager
def full(node: RedisNode) -> Iterator[None]:
    node.ask("CONFIG", "SET", "maxmemory", 1)
    try:
        yield
    finally:
        node.ask("CONFIG", "SET", "maxmemory", 0)


@contextmanager
def busy(node: RedisNode) -> Iterator[None]:
    node.ask("CONFIG", "SET", "busy-reply-threshold", 50)
    client = Wire(node.address)
    client.send_command("EVAL", "while true do end", 0)
    other = Wire(node.address)
    wait_until(lambda: isinstance(_ask(other, "GET", "x"), ReplyError), "the script runs for too long")
    try:
        yield
    finally:
        node.ask("SCRIPT", "KILL")
        assert isinstance(client.reply(), ReplyError)
        client.close()
        other.close()


def _ask(wire: Wire, *words: str) -> object:
    """As Wire.ask, whatever the reply is."""
    wire.send_command(*words)
    return wire.reply()


@contextmanager
def unsaved(node: RedisNode, directory: Path) -> Iterator[None]:
    lose_directory(node, directory)
    try:
        yield
    finally:
        node.ask("CONFIG", "SET", "save", "")
        node.ask("CONFIG", "SET", "dir", str(node.directory))


def lose_directory(node: RedisNode, directory: Path) -> None:
    """It cannot write its RDB from now on: the directory it is in has gone."""
    gone = directory / f"gone-{node.port}"
    gone.mkdir()
    node.ask("CONFIG", "SET", "dir", str(gone))
    gone.rmdir()
    node.ask("CONFIG", "SET", "save", "3600 1")
    node.ask("BGSAVE")
    wait_until(lambda: is_unsaved(node), "the node cannot save its RDB")


def is_unsaved(node: RedisNode) -> bool:
    info = node.info("persistence")
    return (info["rdb_bgsave_in_progress"], info["rdb_last_bgsave_status"]) == ("0", "err")


@contextmanager
def lonely(node: RedisNode) -> Iterator[None]:
    node.ask("CONFIG", "SET", "min-replicas-to-write", 1)
    try:
        yield
    finally:
        node.ask("CONFIG", "SET", "min-replicas-to-write", 0)


def ill(how: str, node: RedisNode, directory: Path) -> AbstractContextManager[None]:
    ills = {"full": full, "busy": busy, "lonely": lonely}
    return unsaved(node, directory) if how == "unsaved" else ills[how](node)


ILLS = ("full", "busy", "unsaved", "lonely")


@pytest.mark.parametrize("how", ILLS)
def test_a_shard_refuses_as_one_redis_does(
    how: str, halves: Fleet, proxy: Proxy, plain: RedisNode, wire: Open, tmp_path: Path
) -> None:
    requests = [
        ("SET", SECOND, "1"),
        ("LPUSH", "{foo}list", "x"),
        ("MSET", SECOND, "1", "{foo}x", "2"),
        ("EVAL", "return redis.call('SET', KEYS[1], '1')", "1", SECOND),
        ("BLPOP", "{foo}empty", "0.01"),
        ("DEL", SECOND),
        ("GET", SECOND),
    ]
    said = {}
    for place, node in ((plain.address, plain), (proxy.address(), primary(halves, 1))):
        with ill(how, node, tmp_path):
            client = wire(place, timeout=SOON)
            said[place] = [str(_ask(client, *request)) for request in requests]
    expected, found = said.values()
    assert found == expected
    assert any(reply.split(" ")[0] in ("OOM", "BUSY", "MISCONF", "NOREPLICAS") for reply in found)


@pytest.mark.parametrize("how", ILLS)
def test_half_a_write_over_shards_is_in_doubt(
    how: str, halves: Fleet, proxy: Proxy, wire: Open, tmp_path: Path
) -> None:
    client = wire(proxy, timeout=SOON)
    refused = {"full": "OOM", "busy": "BUSY", "unsaved": "MISCONF", "lonely": "NOREPLICAS"}[how]
    sick, well = primary(halves, 1), primary(halves, 0)
    with ill(how, sick, tmp_path):
        said = str(_ask(client, "MSET", FIRST, how, SECOND, how))
        assert said.startswith(f"ERR INDOUBT executed by 1 of 2 shards: {refused} "), said
        assert well.ask("GET", FIRST) == how.encode(), "and so it was"
        if how != "full":  # which frees memory
            for word in ("DEL", "UNLINK"):
                assert str(_ask(client, word, FIRST, SECOND)).startswith("ERR INDOUBT executed by 1 of 2"), (
                    word
                )
        both = str(_ask(client, "MSET", SECOND, "1", "{foo}", "2"))
        assert both.startswith(f"{refused} "), "no part of it was executed"
        if how == "busy":
            for word in ("EXISTS", "TOUCH", "MGET"):
                assert str(_ask(client, word, FIRST, SECOND)).startswith("BUSY "), "it changes nothing"


@pytest.mark.parametrize(
    ("how", "request_"),
    [
        ("unsaved", ("FLUSHALL",)),
        ("unsaved", ("FLUSHDB", "ASYNC")),
        ("busy", ("SCRIPT", "LOAD", "return 1")),
        ("busy", ("SCRIPT", "FLUSH")),
        ("full", ("FUNCTION", "LOAD", "#!lua name=half\nredis.register_function('half', function() end)")),
    ],
)
def test_half_a_command_over_all_shards_is_in_doubt(
    how: str, request_: tuple[str, ...], halves: Fleet, proxy: Proxy, wire: Open, tmp_path: Path
) -> None:
    client = wire(proxy)
    with ill(how, primary(halves, 1), tmp_path):
        said = str(_ask(client, *request_))
    assert said.startswith("ERR INDOUBT executed by 1 of 2 shards: "), said
    assert "perhaps" not in said
    primary(halves, 0).ask("FUNCTION", "FLUSH")


def test_a_command_that_no_shard_executes_says_why(
    halves: Fleet, proxy: Proxy, wire: Open, tmp_path: Path
) -> None:
    client = wire(proxy)
    with unsaved(primary(halves, 0), tmp_path), unsaved(primary(halves, 1), tmp_path):
        assert str(_ask(client, "FLUSHALL")).startswith("MISCONF ")


def test_nobody_waits_for_a_failover_that_is_off(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: Open, tmp_path: Path
) -> None:
    """A replica could take over, but nobody makes it: by config, or because the cluster is paused."""
    fleet = start_fleet(shards=1, replicas=1, args=BREAKABLE)
    proxy = start_proxy(config_of(fleet, failover={"enabled": False}))
    with unsaved(primary(fleet, 0), tmp_path):
        assert str(_ask(wire(proxy, timeout=SOON), "SET", "key", "1")).startswith("MISCONF ")
    with lonely(primary(fleet, 0)):
        primary(fleet, 0).ask("CONFIG", "SET", "min-replicas-to-write", 2)
        said = str(_ask(wire(proxy, timeout=SOON), "SET", "key", "1"))
        assert said == "NOREPLICAS Not enough good replicas to write."


def test_a_write_waits_where_a_replica_takes_over(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: Open, tmp_path: Path
) -> None:
    """A primary that cannot save is replaced by a replica that can, if not at once."""
    fleet = start_fleet(shards=1, replicas=1, args=BREAKABLE)
    first = primary(fleet, 0)
    config = config_of(fleet, replication="managed", timeouts={"park": "20s", "reply": "20s"})
    proxy = start_proxy(config)
    is_covered = '"is_covered": true'
    wait_until(lambda: is_covered in proxy.get("/api/status")[1].replace('":t', '": t'), proxy.log)
    lose_directory(first, tmp_path)
    assert _ask(wire(proxy, timeout=20.0), "SET", "key", "1") == b"OK", proxy.log()
    assert f"primary {first.address}: refuses writes: it cannot save to disk" in proxy.log()


def test_exec_says_why_a_command_was_not_queued(
    halves: Fleet, proxy: Proxy, wire: Open, redis_client: Connect
) -> None:
    client = wire(proxy)
    with full(primary(halves, 1)):
        said = [str(_ask(client, *words)) for words in (("MULTI",), ("SET", SECOND, "1"), ("EXEC",))]
        oom = "OOM command not allowed when used memory > 'maxmemory'."
        assert said == ["b'OK'", "b'QUEUED'", f"EXECABORT Transaction discarded because of: {oom}"]
        pipeline = redis_client(proxy).pipeline()
        pipeline.set(SECOND, "1")
        with pytest.raises(redis.exceptions.ExecAbortError, match="OOM command not allowed"):
            pipeline.execute()
        said = [str(_ask(client, *words)) for words in (("WATCH", SECOND), ("MULTI",), ("SET", SECOND, "1"))]
        assert said == ["b'OK'", "b'OK'", "b'QUEUED'"]
        assert oom in str(_ask(client, "EXEC")), "on a connection of its own as well"
    client.send_command("MULTI")
    client.send_command("SET", SECOND, "1")
    client.send_command("EXEC")
    assert [client.reply() for _ in range(3)] == [b"OK", b"QUEUED", [b"OK"]]


@pytest.mark.parametrize(
    ("setting", "most"), [("proto-max-bulk-len", MIB), ("client-query-buffer-limit", MIB - 65536)]
)
def test_what_a_node_would_not_take_cuts_nobody_elses_connection(
    setting: str, most: int, start_fleet: StartFleet, start_proxy: StartProxy, wire: Open
) -> None:
    fleet = start_fleet(shards=1, replicas=0, args=(f"--{setting}", "1mb"))
    node, proxy = primary(fleet, 0), start_proxy(config_of(fleet, workers=1))
    stop = threading.Event()
    failed: list[object] = []
    served = threading.Semaphore(0)

    def serve(number: int) -> None:
        client = wire(proxy)
        while not stop.is_set():
            if (reply := _ask(client, "SET", f"key:{number}", "x" * 2000)) != b"OK":
                failed.append(reply)
            served.release()

    neighbours = [threading.Thread(target=serve, args=(number,)) for number in range(6)]
    for neighbour in neighbours:
        neighbour.start()
    try:
        for _ in range(5):
            client, asked = wire(proxy), wire(node.address)
            for place in (client, asked):
                assert _ask(place, "SET", "large", "x" * most) == b"OK"
            client.send(b"*3\r\n$3\r\nSET\r\n$5\r\nlarge\r\n$%d\r\n" % (2 * MIB))
            said = str(client.reply())
            assert said.startswith("ERR Protocol error: invalid bulk length"), said
            assert f"the nodes take {most} bytes" in said
            client.expect_closed()
            if setting == "proto-max-bulk-len":
                asked.send(b"*3\r\n$3\r\nSET\r\n$5\r\nlarge\r\n$%d\r\n" % (2 * MIB))
                assert str(asked.reply()) == "ERR Protocol error: invalid bulk length", "as one Redis"
                asked.expect_closed()
        for _ in range(60):
            assert served.acquire(timeout=5)
    finally:
        stop.set()
        for neighbour in neighbours:
            neighbour.join()
    assert failed == []


# --- nodes of a Redis Cluster ---

CLUSTERED = ("--cluster-enabled", "yes", "--cluster-port")


@pytest.fixture(scope="module")
def foreign(start_fleet_for_module: StartFleet) -> Fleet:
    return start_fleet_for_module(shards=1, replicas=0, args=(*CLUSTERED, str(free_port())))


def test_a_proxy_does_not_start_over_nodes_of_a_redis_cluster(foreign: Fleet, halves: Fleet) -> None:
    nodes = [str(primary(foreign, 0).address), str(primary(halves, 0).address)]
    for shards in ([{"nodes": nodes[:1]}], [{"nodes": nodes}]):
        proxy = Proxy({"workers": 1, "clusters": {"main": {"engine": "redis", "shards": shards}}}, wait=False)
        try:
            assert proxy.wait() == 1
            said = proxy.log()
            assert "shardproxy cannot start: cluster main: node" in said
            assert f"node {nodes[0]} runs in cluster mode (cluster-enabled yes)" in said
            assert "start it with cluster-enabled no" in said
        finally:
            proxy.stop()


def test_check_says_so_when_it_may_ask(foreign: Fleet, halves: Fleet, tmp_path: Path) -> None:
    def check(fleet: Fleet, *more: str) -> tuple[int, str]:
        file = tmp_path / "config.yaml"
        cluster = {**cluster_of(fleet), "endpoints": {"primary": "127.0.0.1:7000"}}
        file.write_text(json.dumps({"clusters": {"main": cluster}}))
        words = (str(executable("shardproxy")), "check", str(file), *more)
        env = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False, env=env)
        return done.returncode, done.stdout + done.stderr

    assert check(foreign)[0] == 0, "it connects to nothing unless asked to"
    code, said = check(foreign, "--nodes")
    assert code == 1, said
    assert "cluster main: node" in said
    assert "runs in cluster mode (cluster-enabled yes)" in said
    assert check(halves, "--nodes")[0] == 0


def test_a_node_that_comes_back_in_cluster_mode_is_not_served(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: Open
) -> None:
    fleet = start_fleet(shards=2, replicas=0)
    proxy = start_proxy(fleet)
    client = wire(proxy)
    assert client.ask("SET", SECOND, "1") == b"OK"
    node = primary(fleet, 1)
    node.kill()
    node.args = (*node.args, *CLUSTERED, str(free_port()))
    node.start()
    why = f"node {node.address} runs in cluster mode (cluster-enabled yes)"
    wait_until(lambda: str(_ask(client, "GET", SECOND)).startswith("ERR shard 1 is not served: "), proxy.log)
    wait_until(lambda: why in str(_ask(client, "DBSIZE")), proxy.log)  # the control plane hears of it last
    for words in (
        ("SET", SECOND, "1"),
        ("MSET", FIRST, "1", SECOND, "2"),
        ("SUBSCRIBE", "news"),
        ("DBSIZE",),
    ):
        assert why in str(_ask(client, *words)), words
    assert client.ask("SET", FIRST, "1") == b"OK", "the other shard is served"
    assert why in proxy.log()
    assert why in proxy.get("/api/status")[1]
    assert node.info("commandstats").get("cmdstat_set") is None
    node.kill()
    node.args = node.args[: -len(CLUSTERED) - 1]
    node.start()
    wait_until(lambda: _ask(client, "SET", SECOND, "2") == b"OK", proxy.log)
