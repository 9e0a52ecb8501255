"""A process that is stopped in the middle of a copy and goes on later writes nothing that is stale."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from shardproxy.fleet import EngineNode, Fleet
from shardproxy.replication.interface import Claim
from tests.fixtures.engines import StartFleet
from tests.integration.moving.engines import ALL, contents, plan, reached, redis
from tests.integration.moving.test_copier_events import FAST, copying, fill

ROOT = Path(__file__).parents[3]


@pytest.fixture
def shards(start_fleet: StartFleet) -> Fleet:
    return start_fleet(shards=2, replicas=1, args=FAST)


@contextmanager
def running(source: EngineNode, target: EngineNode, lease: float) -> Iterator[subprocess.Popen[str]]:
    args = [source.address, target.address, 1, lease]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.moving.frozen", *map(str, args)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def told(process: subprocess.Popen[str], *words: str) -> str:
    """The first line that has one of these words."""
    assert process.stdout is not None
    for line in process.stdout:
        if any(word in line.split() for word in words):
            return line
    raise AssertionError("it ended")


@pytest.mark.parametrize("lease", [0.0, 10.0])
async def test_what_was_stopped_writes_nothing_stale(shards: Fleet, lease: float) -> None:
    """As a later copier is there, and as its lease is over."""
    source, target = (shard.primary for shard in shards.shards)
    fill(source, 20_000)
    began = time.monotonic()
    with running(shards.shards[0].replicas[0], target, lease) as frozen:
        await trio.to_thread.run_sync(told, frozen, "following")
        over = time.monotonic() + lease
        # changes are under way in that very moment
        script = "for n = 1, 20000 do redis.call('SET', 'still:' .. n, 'stale') end"
        redis(source).ask("EVAL", script, 0)
        frozen.send_signal(signal.SIGSTOP)
        assert not lease or time.monotonic() < began + lease, "its lease was over before"
        copy = plan(shards.shards[0].replicas, (ALL, target), claim=Claim("main", 2, 1))
        async with copying(copy) as copier:
            await copier.wait_close()
            await reached(copier, source)
            await copier.verify(within=10)
            await copier.rest(within=10)
            assert copier.status.unguarded == ""
            script = "for n = 1, 20000 do redis.call('SET', 'still:' .. n, 'new') end"
            redis(target).ask("EVAL", script, 0)
            redis(source).ask("FLUSHALL")  # as whoever moved the keys takes them away
            if lease:
                await copier.stop()  # nothing but the lease tells the other one that it was here
            while time.monotonic() < over:  # noqa: ASYNC110
                await trio.sleep(0.05)
            frozen.send_signal(signal.SIGCONT)
            with trio.fail_after(30):
                assert "lapsed" in await trio.to_thread.run_sync(
                    told, frozen, "failed", abandon_on_cancel=True
                )
            found = contents(target)
    assert len(found) == 20_000
    assert {value for _, value, _ in found.values()} == {b"new"}
