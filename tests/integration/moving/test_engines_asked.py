"""What moves ask of engines beside the copier's thread, of real ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from shardproxy.fleet import RedisNode
from shardproxy.nodes import NodeLinks
from shardproxy.reshard.functions import functions_copy
from shardproxy.reshard.replicas import replicas_wait
from shardproxy.reshard.sample import sample
from shardproxy.reshard.survey import survey
from shardproxy.reshard.sweep import sweep
from tests.fixtures.engines import StartFleet

LIBRARY = "#!lua name=counting\nredis.register_function('one', function() return 1 end)"


ENGINES = "SHARDPROXY_ENGINES"  # environment variable: paths of other releases' programs, as PATH has them
OTHERS = [path for path in os.environ.get(ENGINES, "").split(os.pathsep) if path]


@pytest.mark.parametrize("program", [None, *OTHERS], ids=["here", *(Path(path).parts[3] for path in OTHERS)])
async def test_a_replica_that_lags_is_waited_for_on_any_connection(
    start_fleet: StartFleet, program: str | None
) -> None:
    """What another connection wrote counts, whatever WAIT means to this release."""
    (shard,) = start_fleet(shards=1, replicas=1, program=program).shards
    primary, replica = shard.primary, shard.replicas[0]
    assert isinstance(primary, RedisNode)
    run_id = primary.info("server")["run_id"]
    async with NodeLinks() as links:
        assert await replicas_wait(links, primary.address, run_id, 1, within=10.0)
        assert not await replicas_wait(links, primary.address, run_id, 2, within=0.1)
        replica.freeze()
        primary.ask("SET", "key", "value")
        assert not await replicas_wait(links, primary.address, run_id, 1, within=0.2)
        async with NodeLinks() as others:
            assert not await replicas_wait(others, primary.address, run_id, 1, within=0.2)
        replica.thaw()
        assert await replicas_wait(links, primary.address, run_id, 1, within=10.0)
        primary.ask("SET", "key", "another")
        began = trio.current_time()
        assert await replicas_wait(links, primary.address, run_id, 1, within=10.0)
        assert trio.current_time() - began < 0.5, (
            "the replicas were asked: by themselves they say it each second"
        )


async def test_engines_are_surveyed_sampled_given_functions_and_swept(start_fleet: StartFleet) -> None:
    one, other = (shard.primary for shard in start_fleet(shards=2, replicas=0).shards)
    assert isinstance(one, RedisNode)
    assert isinstance(other, RedisNode)
    for number in range(2000):
        one.ask("SET", f"{number}", "x" * 100)
    one.ask("FUNCTION", "LOAD", LIBRARY)
    run_id, target_id = (node.info("server")["run_id"] for node in (one, other))
    async with NodeLinks() as links:
        found = await survey(links, one.address)
        assert (found.keys, found.databases, found.modules, found.has_replicas) == (2000, (0,), {}, False)
        assert found.version >= (5,)
        assert abs(found.clock) < 1
        looked = await sample(links, one.address, lambda key: int(key) % 10, keys=500, weighed=50)
        assert 500 <= looked.keys < 2000
        assert looked.bytes_each == pytest.approx(150, rel=0.4)
        assert await functions_copy(links, one.address, other.address, target_id) == 1
        assert await functions_copy(links, one.address, other.address, target_id) == 0
        assert other.ask("FCALL", "one", 0) == 1
        with trio.fail_after(30):
            removed = await sweep(
                links, one.address, run_id, lambda key: int(key) % 2 == 0, may_go_on=trio.lowlevel.checkpoint
            )
        assert removed == 1000
        assert one.ask("DBSIZE") == 1000
