"""Keys are copied from real engines and kept fresh until nothing is left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from shardproxy.config import Credentials
from shardproxy.dataplane.tls import NodeTlsSettings
from shardproxy.fleet import EngineNode, Fleet
from shardproxy.model import SlotRange
from shardproxy.replication.copier import EngineCopier
from shardproxy.replication.interface import CopyDiffersError, CopyError, CopyPhase, CopyPlan, End, Target
from tests.fixtures.certificates import Authority
from tests.fixtures.engines import StartFleet
from tests.integration.moving.engines import HALF, contents, plan, reached, redis

FAST = ["--repl-diskless-sync-delay", "0"]


@pytest.fixture(scope="module")
def shards(start_fleet_for_module: StartFleet) -> Fleet:
    """Two shards of two nodes."""
    return start_fleet_for_module(shards=2, replicas=1, args=FAST)


@pytest.fixture
def ends(shards: Fleet) -> tuple[EngineNode, EngineNode, EngineNode]:
    """The source's primary, its replica, and the target, all empty."""
    for shard in shards.shards:
        redis(shard.primary).ask("FLUSHALL")
    source, target = shards.shards
    return source.primary, source.replicas[0], target.primary


@asynccontextmanager
async def copying(copy: CopyPlan) -> AsyncIterator[EngineCopier]:
    copier = EngineCopier.start(copy)
    try:
        yield copier
    finally:
        await copier.stop()


def fill(node: EngineNode, count: int = 300) -> None:
    ask = redis(node).ask
    for n in range(count):
        match n % 7:
            case 0:
                ask("SET", f"s:{n}", f"value {n}")
            case 1:
                ask("RPUSH", f"l:{n}", *range(n % 50 + 1))
            case 2:
                ask("HSET", f"h:{n}", *(word for m in range(n % 40 + 1) for word in (f"f{m}", m)))
            case 3:
                ask("SADD", f"set:{n}", *(f"m{m}" for m in range(n % 300 + 1)))
            case 4:
                ask("ZADD", f"z:{n}", *(word for m in range(n % 300 + 1) for word in (f"{m}.5", f"m{m}")))
            case 5:
                ask("XADD", f"x:{n}", "*", "field", n)
                ask("XGROUP", "CREATE", f"x:{n}", "group", "0")
            case _:
                ask("SET", f"t:{n}", n, "PX", 3_600_000 + n)


async def test_engines_are_spoken_to_as_they_want(start_fleet: StartFleet, authority: Authority) -> None:
    fleet = start_fleet(shards=2, replicas=1, args=FAST, password="secret", tls=authority.engine())
    tls = NodeTlsSettings(authority.ca.read_text(), None, None)
    login = Credentials(None, "secret")
    source, target = fleet.shards
    ends = [End(node.address, login, tls) for node in (source.replicas[0], target.primary)]
    fill(source.primary)
    big = "x" * 3_000_000
    redis(source.primary).ask("SET", "big", big)
    async with copying(CopyPlan((ends[0],), (Target((SlotRange(0, 16383),), ends[1]),))) as copier:
        await copier.wait_close()
        redis(source.primary).ask("SET", "small", "x")
        await reached(copier, source.primary)
        assert await copier.verify(within=10) > 200
    for node in (source.primary, target.primary):
        assert redis(node).ask("DBSIZE") == 302
        assert redis(node).ask("GET", "big").decode() == big
    wrong = CopyPlan((End(ends[0].address, Credentials(None, "wrong"), tls),), (Target((), ends[1]),))
    async with copying(wrong) as copier:
        with pytest.raises(CopyError, match="WRONGPASS") as error:
            await copier.wait_close()
        assert "secret" not in str(error.value)


async def test_what_rests_compares_and_carries_nothing_until_it_goes_on(ends: tuple[EngineNode, ...]) -> None:
    primary, replica, target = ends
    fill(primary)
    async with copying(plan([replica, primary], (HALF, target))) as copier:
        await copier.wait_close()
        redis(primary).ask("SET", "{b}key", "before")  # slot 3300
        await reached(copier, primary, rests=True)
        assert await copier.verify(within=5.0) > 100
        redis(primary).ask("SET", "{b}key", "after")
        with pytest.raises(CopyDiffersError, match="its size"):
            await copier.verify(within=5.0)
        assert redis(target).ask("GET", "{b}key") == b"before"
        copier.go_on()
        await reached(copier, primary)
        assert redis(target).ask("GET", "{b}key") == b"after"
        assert await copier.verify(within=5.0) > 100


async def test_all_kinds_are_copied_and_kept_fresh(ends: tuple[EngineNode, ...]) -> None:
    primary, replica, target = ends
    fill(primary)
    redis(target).ask("SET", "{b}stale", "x")  # slot 3300, and the source lacks it
    redis(target).ask("SET", "{foo}own", "x")  # slot 12182: none of the slots that are copied
    async with copying(plan([replica, primary], (HALF, target))) as copier:
        await copier.wait_close()
        ask = redis(primary).ask
        for n in range(0, 300, 5):
            ask("APPEND", f"s:{n}", "!")
            ask("DEL", f"h:{n + 2}")
            ask("PEXPIRE", f"set:{n + 3}", 7_200_000 + n)
        ask("EVAL", "redis.call('SET', KEYS[1], 'lua'); redis.call('INCR', 'undeclared')", 1, "scripted")
        ask("SPOP", "set:10", 3)
        ask("RENAME", "l:1", "l:renamed")
        await reached(copier, primary)
        assert await copier.verify(within=5.0) > 100
        status = copier.status
    expected = contents(primary, HALF)
    assert len(expected) > 100
    assert contents(target, HALF) == expected
    assert set(contents(target)) - set(expected) == {b"{foo}own"}
    assert status.source == replica.address
    assert not status.source_is_primary
    assert (status.phase, status.passes, status.why) == (CopyPhase.FOLLOWING, 1, "")
    assert status.checked > 0
