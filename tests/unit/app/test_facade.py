"""The data plane's facade: typed values, one wakeup, a clean end."""

from __future__ import annotations

import resource
import threading
from binascii import crc_hqx
from dataclasses import fields, replace
from pathlib import Path

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from shardproxy.config import parse_config
from shardproxy.dataplane import Abandoned, AccessEvent, CacheAged, ClientDid, DataPlane, Event, Offloaded
from shardproxy.dataplane._native import NodeDown, NodeLost, OutOfFiles
from shardproxy.dataplane.cpus import cpu_count
from shardproxy.dataplane.descriptors import (
    Share,
    Wanted,
    descriptors_raise,
    descriptors_share,
    why_too_few,
)
from shardproxy.dataplane.spec import ClusterSpec, cluster_spec
from shardproxy.dataplane.statistics import RuleStatistics
from shardproxy.dataplane.timings import TimedRequest
from shardproxy.model import SLOT_COUNT, Address
from shardproxy.model.health import NodeDown as Down
from shardproxy.topology.settings import settings_read
from tests.unit.app.fake_native import FakeNative, dataplane_over


async def test_offloads_arrive_typed_and_in_order(autojump_clock: trio.testing.MockClock) -> None:
    native = FakeNative()
    dataplane = dataplane_over(native)
    seen: list[Event] = []

    async def read() -> None:
        async for event in dataplane.events():
            seen.append(event)
            if len(seen) == 4:
                return

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        native.offload(1, b"INFO")
        native.offload(2, b"CLUSTER", b"SLOTS")
        await trio.testing.wait_all_tasks_blocked()
        native.tell(Abandoned(2), ClientDid("main", "10.0.0.1:5", "binary protocol"))
    first, second, *others = seen
    assert isinstance(first, Offloaded)
    assert isinstance(second, Offloaded)
    assert (first.token, second.token) == (1, 2)
    assert (second.endpoint, second.client_id, second.resp, second.db) == ("primary", 7, 3, 0)
    assert (second.local_address, second.known) == ("127.0.0.1:7000", True)
    assert second.args == (b"CLUSTER", b"SLOTS")
    assert others == [Abandoned(2), ClientDid("main", "10.0.0.1:5", "binary protocol")]
    dataplane.stop()


async def test_nodes_that_are_down_are_shown_with_the_reason(autojump_clock: trio.testing.MockClock) -> None:
    native = FakeNative()
    dataplane = dataplane_over(native)
    first, second = Address("127.0.0.1", 1), Address("127.0.0.1", 2)

    async def read() -> None:
        async for _ in dataplane.events():
            raise AssertionError("nothing was offloaded")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        since = trio.current_time()
        native.tell(NodeDown("main", str(first), "refused"))
        await trio.testing.wait_all_tasks_blocked()
        assert dict(dataplane.down) == {("main", first): Down("refused", since)}
        await trio.sleep(5)
        native.tell(NodeDown("main", str(second), "closed"))
        await trio.testing.wait_all_tasks_blocked()
        assert dataplane.down["main", first] == Down("refused", since)
        native.tell(NodeDown("main", str(first), None))
        await trio.testing.wait_all_tasks_blocked()
        assert dict(dataplane.down) == {("main", second): Down("closed", since + 5)}
        dataplane.stop()


async def test_a_stranger_wakes_health_and_is_logged_once_per_topology(
    autojump_clock: trio.testing.MockClock,
) -> None:
    native = FakeNative()
    dataplane = dataplane_over(native)
    lost, stranger = Address("127.0.0.1", 1), Address("127.0.0.1", 2)
    cluster = cluster_spec_of("main")

    async def read() -> None:
        async for _ in dataplane.events():
            raise AssertionError("nothing was offloaded")

    async def found() -> list[tuple[str, Address]]:
        with capture_logs() as logged:
            native.tell(
                NodeLost("main", str(lost), "lost", "refused"),
                NodeLost("main", str(stranger), "stranger", "another process"),
            )
            heard = [await dataplane.hints.receive() for _ in range(2)]
        assert heard == [lost, stranger]
        return [(entry["event"], Address.parse(entry["node"])) for entry in logged]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        assert await found() == [("node is a stranger", stranger)]
        assert await found() == []
        await dataplane.apply(cluster)
        assert await found() == [("node is a stranger", stranger)]
        dataplane.stop()


async def test_the_log_is_told_of_refused_connections_once_a_minute(
    autojump_clock: trio.testing.MockClock,
) -> None:
    native = FakeNative()
    dataplane = dataplane_over(native)

    async def read() -> None:
        async for _ in dataplane.events():
            raise AssertionError("nothing was offloaded")

    def event(kind: str, why: str, cluster: str = "main") -> AccessEvent:
        return AccessEvent(cluster, "primary", kind, 0, "10.0.0.9:1", "", why, b"", "toplevel")

    async def told(*events: AccessEvent) -> list[tuple[str, str]]:
        with capture_logs() as logged:
            native.tell(*events)
            for known in events:
                assert await dataplane.access_events.receive() == known, "all are passed on"
        return [(entry["cluster"], entry["why"]) for entry in logged]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        first = event("connection_refused", "security_group")
        assert await told(first, first, event("login", "password")) == [("main", "security_group")]
        others = event("header_refused", "no header"), event("connection_refused", "security_group", "other")
        assert await told(first, *others) == [("main", "no header"), ("other", "security_group")]
        await trio.sleep(60)
        assert await told(first) == [("main", "security_group")]
        dataplane.stop()


def cluster_spec_of(name: str) -> ClusterSpec:
    config = parse_config(f"""
clusters:
  {name}:
    engine: redis
    endpoints: {{configuration: "127.0.0.1:7000"}}
    shards: [{{nodes: ["127.0.0.1:7101"]}}]
""")
    return cluster_spec(settings_read(config, "7.0.15")[name], config.topologies()[0].with_epoch(1))


async def test_stop_ends_the_reader_and_is_idempotent() -> None:
    native = FakeNative()
    dataplane = dataplane_over(native)

    async def read() -> None:
        async for _ in dataplane.events():
            raise AssertionError("nothing was offloaded")

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            dataplane.stop()
            dataplane.stop()
    assert native.stopped


async def test_an_answer_after_the_stop_is_ignored() -> None:
    native = FakeNative()
    dataplane = dataplane_over(native)
    dataplane.answer(1, b"+OK\r\n")
    dataplane.stop()
    dataplane.answer(2, b"+OK\r\n")
    dataplane.retry(2)
    assert native.answers == [(1, b"+OK\r\n")]
    assert native.retried == []


async def test_statistics_are_typed() -> None:
    dataplane = dataplane_over(FakeNative())
    statistics = dataplane.statistics()
    assert statistics.workers[1].age == 0.5
    assert dataplane.workers() == statistics.workers
    assert dataplane.client_count() == sum(worker.clients for worker in statistics.workers)
    assert statistics.clusters["main"].commands["get"].error == 27
    assert statistics.clusters["main"].latency["read"].fine == ((36, 28), (40, 2))
    assert statistics.clusters["main"].latency["read"].count == 30
    assert statistics.clusters["main"].nodes["127.0.0.1:7101"].queued == 13
    counts = dataplane.counts("main")["main"]
    assert all(
        getattr(counts, f.name) == getattr(statistics.clusters["main"], f.name) for f in fields(counts)
    )
    assert dataplane.counts("other") == {}
    dataplane.stop()


async def test_the_slow_log_is_read_in_a_thread_and_no_further_than_asked_for() -> None:
    native = FakeNative()
    row = {f.name: 0 for f in fields(TimedRequest)} | {"phases": {}, "arguments": [b"GET"]}
    native.slow_rows = [{**row, "id": number} for number in (3, 2, 1)]
    dataplane = dataplane_over(native)
    assert [request.id for request in await dataplane.slow_log("main", 2)] == [3, 2]
    assert native.asked_in not in (0, threading.get_ident())
    dataplane.stop()


def test_cpus_respect_a_containers_quota(tmp_path: Path) -> None:
    quota = tmp_path / "cpu.max"
    unlimited = cpu_count(tmp_path / "missing")
    assert unlimited >= 1
    for text, expected in (
        ("max 100000\n", unlimited),
        ("50000 100000\n", 1),
        ("100000 100000\n", 1),
        ("150000 100000\n", min(2, unlimited)),
        ("9900000 100000\n", unlimited),
        ("nonsense\n", unlimited),
    ):
        quota.write_text(text)
        assert cpu_count(quota) == expected, text


def test_all_allowed_descriptors_are_used() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, hard), hard))
        assert descriptors_raise() == hard
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


WANTED = Wanted(clients=10_000, dedicated=6 * 256, nodes=6, shards=3, workers=2)
ELSE = 2 * (4 * 6 + 3) + 256  # what workers share, and the spare


@pytest.mark.parametrize(
    ("available", "wanted", "share"),
    [
        (resource.RLIM_INFINITY, WANTED, Share(0, 0)),
        # enough: what nobody wants clients may have all the same
        (20_000, WANTED, Share(20_000 - ELSE - 3072, 3072)),
        (ELSE + 10_000 + 3072, WANTED, Share(10_000, 3072)),
        # too few: a fourth is kept for connections of clients' own, and more if there are so few clients
        (ELSE + 4000, WANTED, Share(3000, 1000)),
        (ELSE + 4000, replace(WANTED, clients=2500), Share(2500, 1500)),
        (ELSE + 4000, replace(WANTED, clients=0), Share(3000, 1000)),
        # no client has two
        (20_000, replace(WANTED, clients=100), Share(20_000 - ELSE - 100, 100)),
        (20_000, replace(WANTED, dedicated=0), Share(20_000 - ELSE, 1)),
        (200, WANTED, Share(35, 11)),
        (16, WANTED, Share(1, 1)),
    ],
)
def test_clients_and_their_connections_share_what_all_else_leaves(
    available: int, wanted: Wanted, share: Share
) -> None:
    assert descriptors_share(available, wanted) == share


def test_too_few_descriptors_are_told_with_what_to_do() -> None:
    assert why_too_few(1_000_000, replace(WANTED, nodes=500, workers=64)) is None
    assert why_too_few(resource.RLIM_INFINITY, replace(WANTED, nodes=500, workers=64)) is None
    needed = 10_000 + 3072 + ELSE
    assert why_too_few(needed, WANTED) is None
    told = why_too_few(needed - 1, WANTED)
    assert told
    assert f"need {needed} file descriptors, {needed - 1} are allowed" in told
    assert "LimitNOFILE" in told


async def test_a_lack_of_descriptors_is_told_once_a_minute(autojump_clock: trio.testing.MockClock) -> None:
    native = FakeNative()
    dataplane = dataplane_over(native)

    async def read() -> None:
        async for _ in dataplane.events():
            raise AssertionError("nothing was offloaded")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        with capture_logs() as logged:
            for _ in range(10):
                native.tell(OutOfFiles("a connection to node 127.0.0.1:1"))
                await trio.sleep(10)
        dataplane.stop()
    assert [entry["wanted"] for entry in logged] == ["a connection to node 127.0.0.1:1"] * 2


async def test_threads_that_are_all_taken_hold_up_no_topology() -> None:
    """As by names that do not resolve."""
    dataplane = dataplane_over(FakeNative())
    threads = trio.to_thread.current_default_thread_limiter()
    slow = [object() for _ in range(int(threads.total_tokens))]
    for each in slow:
        await threads.acquire_on_behalf_of(each)
    with trio.fail_after(5):
        assert len(await dataplane.apply(cluster_spec_of("main"))) == 1
        assert await dataplane.clients() == ()
        assert await dataplane.kill([1, 2]) == 2
    for each in slow:
        threads.release_on_behalf_of(each)
    dataplane.stop()


def test_a_command_that_is_handed_over_is_shown_without_its_arguments() -> None:
    words = (b"AUTH", b"app", b"hunter2")
    offloaded = Offloaded(7, "main", "primary", 1, "default", 2, 0, "127.0.0.1:7000", True, words)
    assert repr(offloaded) == "Offloaded(token=7, cluster=\"main\", b'AUTH', 3 arguments)"


async def test_what_caching_rules_are_about_is_passed_on_until_the_end() -> None:
    native = FakeNative()
    dataplane = dataplane_over(native)
    for _ in range(2):
        dataplane.pass_on(7)
        dataplane.fresh("main", b"row:1", 2.5)
        dataplane.stop()
    assert (native.passed_on, native.known) == ([7], [("main", b"row:1", 2.5)])
    assert dataplane.statistics().clusters["main"].caching["row:*"] == RuleStatistics(49, 50, 51, 52, 53)


def test_a_tag_lies_in_its_slot() -> None:
    for slot in (0, 1, 12182, 16383):
        assert crc_hqx(DataPlane.tag(slot), 0) % SLOT_COUNT == slot


def test_what_a_rule_makes_ours_says_so() -> None:
    offloaded = Offloaded(7, "main", "primary", 1, "default", 2, 0, "127.0.0.1:7000", True, (b"GET", b"k"), 3)
    assert offloaded.rule == 3
    aged = CacheAged("main", 3, b"person:1")
    assert (aged.cluster, aged.rule, aged.key) == ("main", 3, b"person:1")
    assert repr(aged) == 'CacheAged(cluster="main", rule=3)', "a key may be somebody's name"
