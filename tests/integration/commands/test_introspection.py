"""SLOWLOG, LATENCY, MEMORY and ACL as one server would show them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shardproxy.fleet import Fleet, RedisNode
from shardproxy.wire.resp import Reader
from tests.fixtures.engines import StartFleet
from tests.fixtures.fake_engine import Answer, FakeEngine
from tests.fixtures.offload import Desk, ask_engine, open_desk, topology_at


@pytest.fixture(scope="module")
def slow_fleet(start_fleet_for_module: StartFleet) -> Fleet:
    """Shards that log every command and every latency, and let themselves be debugged."""
    settings = {
        "slowlog-log-slower-than": "0",
        "latency-monitor-threshold": "1",
        "enable-debug-command": "yes",
    }
    args = [word for name, setting in settings.items() for word in (f"--{name}", setting)]
    return start_fleet_for_module(shards=3, replicas=0, args=args)


@pytest.fixture
def nodes(slow_fleet: Fleet) -> list[RedisNode]:
    found = [shard.primary for shard in slow_fleet.shards if isinstance(shard.primary, RedisNode)]
    for node in found:
        node.ask("LATENCY", "RESET")
        node.ask("CONFIG", "RESETSTAT")
        node.ask("SLOWLOG", "RESET")
    return found


async def value(desk: Desk, *args: str | int, resp: int = 2) -> Any:
    reader = Reader()
    reader.feed(await desk.ask(*args, resp=resp))
    return reader.next()


async def test_slowlog_is_one_log(slow_fleet: Fleet, nodes: list[RedisNode]) -> None:
    for number in range(15):
        nodes[number % 3].ask("SET", "key", number)
    async with open_desk(slow_fleet) as desk:
        assert await value(desk, "SLOWLOG", "LEN") >= 15
        entries = await value(desk, "SLOWLOG", "GET", -1)
        assert [entry[1] for entry in entries] == sorted((entry[1] for entry in entries), reverse=True)
        assert len({entry[0] for entry in entries}) == len(entries)
        sets = [entry for entry in entries if entry[3][0] == b"SET"]
        assert {entry[3][2] for entry in sets} == {b"%d" % number for number in range(15)}
        assert len(await value(desk, "SLOWLOG", "GET")) == 10
        assert len(await value(desk, "SLOWLOG", "GET", 3)) == 3
        assert await desk.ask("SLOWLOG", "RESET") == b"+OK\r\n"
        for count in ("x", "-2"):
            assert await desk.ask("SLOWLOG", "GET", count) == await ask_engine(
                nodes[0], "SLOWLOG", "GET", count
            )


async def test_latency_is_that_of_all_shards(slow_fleet: Fleet, nodes: list[RedisNode]) -> None:
    nodes[0].ask("DEBUG", "SLEEP", "0.02")
    nodes[1].ask("DEBUG", "SLEEP", "0.03")
    async with open_desk(slow_fleet) as desk:
        [[event, _, _, worst]] = await value(desk, "LATENCY", "LATEST")
        assert event == b"command"
        assert worst >= 30
        samples = await value(desk, "LATENCY", "HISTORY", "command")
        assert max(latency for _, latency in samples) >= 30  # one of a second, and the worst of it
        doctor = await value(desk, "LATENCY", "DOCTOR")
        assert doctor.count(b"[shard ") == 3
        graph = await value(desk, "LATENCY", "GRAPH", "command")
        assert graph.count(b"[shard ") >= 2
        assert await desk.ask("LATENCY", "GRAPH", "nope") == b"-ERR No samples available for event 'nope'\r\n"
        times = [time for time, _ in samples]
        assert times == sorted(set(times))
        assert await value(desk, "LATENCY", "RESET", "nope", "command") == 1
        assert await value(desk, "LATENCY", "RESET", "command") == 0
        assert await desk.ask("LATENCY", "LATEST") == b"*0\r\n"
        assert await desk.ask("LATENCY", "HISTORY", "nope") == b"*0\r\n"


@pytest.mark.parametrize("resp", [2, 3])
async def test_histograms_add_up(slow_fleet: Fleet, nodes: list[RedisNode], resp: int) -> None:
    for number in range(30):
        nodes[number % 3].ask("SET", "key", number)
    async with open_desk(slow_fleet) as desk:
        histogram = await value(desk, "LATENCY", "HISTOGRAM", "set", "ping", "nope", resp=resp)
        assert await desk.ask("LATENCY", "HISTOGRAM", "nope", resp=resp) == (
            b"%0\r\n" if resp == 3 else b"*0\r\n"
        )
    if resp == 3:
        assert histogram[b"set"][b"calls"] == 30
        counts = list(histogram[b"set"][b"histogram_usec"].values())
    else:
        assert histogram[0] == b"set"
        assert histogram[1][1] == 30
        counts = histogram[1][3][1::2]
    assert counts == sorted(counts)
    assert counts[-1] == 30


@pytest.mark.parametrize("resp", [2, 3])
async def test_memory_stats_have_the_engines_shape(
    slow_fleet: Fleet, nodes: list[RedisNode], resp: int
) -> None:
    for node in nodes:
        node.ask("SET", "key", "x" * 1000)
    async with open_desk(slow_fleet) as desk:
        stats = await value(desk, "MEMORY", "STATS", resp=resp)
    reader = Reader()
    reader.feed(await ask_engine(nodes[0], "MEMORY", "STATS", resp=resp))
    one: Any = reader.next()
    if resp == 2:
        stats, one = (dict(zip(flat[::2], flat[1::2], strict=True)) for flat in (stats, one))
    assert list(stats) == list(one)
    assert {name: type(v) for name, v in stats.items()} == {name: type(v) for name, v in one.items()}
    assert stats[b"keys.count"] == 3
    assert stats[b"startup.allocated"] > 2 * one[b"startup.allocated"]


async def test_texts_for_people_name_the_shard(slow_fleet: Fleet) -> None:
    async with open_desk(slow_fleet) as desk:
        assert (await value(desk, "MEMORY", "DOCTOR")).count(b"[shard ") == 3
        assert b"jemalloc statistics" in await value(desk, "MEMORY", "MALLOC-STATS")
        assert await desk.ask("MEMORY", "PURGE") == b"+OK\r\n"


ACL = [
    "ACL LIST",
    "ACL USERS",
    "ACL GETUSER default",
    "ACL GETUSER nope",
    "ACL CAT",
    "ACL CAT nope",
    "ACL LOG",
    "ACL LOG RESET",
    "ACL LOG 3",
    "ACL LOG x",
    "ACL GENPASS 0",
    "ACL GENPASS 5000",
    "ACL GENPASS x",
    "ACL GENPASS 5 5",
    "ACL DRYRUN default get a",
    "ACL DRYRUN default get",
    "ACL DRYRUN default nope",
    "ACL DRYRUN nope get a",
]


@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize("line", ACL)
async def test_acl_is_that_of_an_engine_without_users(fleet: Fleet, line: str, resp: int) -> None:
    node = fleet.shards[0].primary
    assert isinstance(node, RedisNode)
    async with open_desk(fleet) as desk:
        assert await desk.ask(*line.split(), resp=resp) == await ask_engine(node, *line.split(), resp=resp)


@pytest.mark.parametrize(("bits", "digits"), [(None, 64), (1, 1), (4, 1), (5, 2), (20, 5), (4096, 1024)])
async def test_passwords_have_the_bits_asked_for(fleet: Fleet, bits: int | None, digits: int) -> None:
    async with open_desk(fleet) as desk:
        args = [] if bits is None else [bits]
        password = await value(desk, "ACL", "GENPASS", *args)
    assert len(password) == digits
    assert int(password, 16) >= 0


async def test_latencies_that_only_some_shards_forgot_are_no_success(
    fake_engine: Callable[[Answer], FakeEngine],
) -> None:
    def answer(reset: bytes) -> Answer:
        return lambda connection, request: reset if request[1].upper() == b"RESET" else b"*0\r\n"

    one, other = fake_engine(answer(b":1\r\n")), fake_engine(answer(b"-NOPERM no\r\n"))
    async with open_desk(topology_at(str(one.address), str(other.address))) as desk:
        reply = await desk.ask("LATENCY", "RESET")
        assert reply == b"-ERR INDOUBT executed by 1 of 2 shards: NOPERM no\r\n"
