"""What engines do when they are told: the facts that the state machine is built on."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
import trio

from shardproxy.failover.election import NO_OFFSET, Candidate, choose, why_not_electable
from shardproxy.failover.setup import FailoverSettings
from shardproxy.failover.steps import StepError, Steps
from shardproxy.fleet import Fleet, RedisNode
from shardproxy.model import Address
from shardproxy.model.replication import DEAD_END, Replication, Role
from shardproxy.nodes import NodeLink, OpenLinks
from shardproxy.store.interface import LeadershipLostError
from shardproxy.store.record import Promise, ShardRecord, ShardState
from shardproxy.wire.info import read_fields, read_replication
from tests.failover.controller.plane import KEY
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import wait_until
from tests.fixtures.replicated import wait_replicated

SETTINGS = FailoverSettings(command_timeout=2.0, freeze_timeout=0.5)


def pair(start_fleet: StartFleet, replicas: int = 1) -> tuple[RedisNode, ...]:
    fleet: Fleet = start_fleet(shards=1, replicas=replicas)
    nodes = fleet.shards[0].nodes
    assert all(isinstance(node, RedisNode) for node in nodes)
    return tuple(node for node in nodes if isinstance(node, RedisNode))


def wait_online(primary: RedisNode, *replicas: RedisNode) -> None:
    """Wait until the primary sends its replicas what is written: FAILOVER refuses others."""
    primary.ask("SET", "online", "?")
    wait_replicated(primary, *replicas)


@dataclass(frozen=True)
class ShortLeadership:
    """A lease that is over in so many seconds."""

    left: float = float("inf")
    revision: int = 1
    cluster: str = "sessions"

    def covers(self, seconds: float) -> bool:
        return seconds < self.left

    async def resign(self) -> None:
        raise NotImplementedError


@asynccontextmanager
async def open_nodes() -> AsyncIterator[OpenLinks]:
    links = OpenLinks()
    async with trio.open_nursery() as nursery:
        await nursery.start(links.run)
        yield links
        nursery.cancel_scope.cancel()


def steps_over(nodes: OpenLinks, lease: float = float("inf")) -> Steps:
    return Steps(nodes, ShortLeadership(lease), SETTINGS)


def record_of(primary: RedisNode, *nodes: RedisNode) -> ShardRecord:
    """As a controller would have it that has seen them in sync."""
    seen = read_replication(read_fields(primary.ask("INFO", "replication")))
    members = tuple(node.address for node in (primary, *nodes))
    processes = tuple((node.address, node.info("server")["run_id"]) for node in nodes)
    run_id = primary.info("server")["run_id"]
    return ShardRecord(
        KEY,
        1,
        ShardState.OK,
        primary.address,
        members,
        joined=members,
        processes=processes,
        lineage=seen.lineage,
        run_id=run_id,
    )


async def test_a_frozen_replica_keeps_its_data_and_place_and_goes_on_where_it_was(
    start_fleet: StartFleet,
) -> None:
    primary, replica = pair(start_fleet)
    primary.ask("SET", "a", "1")
    wait_until(lambda: replica.ask("GET", "a") == b"1", "it has the write")
    async with open_nodes() as nodes:
        steps = steps_over(nodes)
        candidate = await steps.freeze(replica.address, zone="z")
        before = candidate.replication
        assert (before.role, before.is_frozen, before.is_link_up) == (Role.REPLICA, True, False)
        assert before.lineage.replid == primary.info("replication")["master_replid"]
        assert before.offset == int(primary.info("replication")["master_repl_offset"])
        assert (candidate.zone, candidate.run_id) == ("z", replica.info("server")["run_id"])
        assert replica.ask("GET", "a") == b"1"
        with pytest.raises(Exception, match="READONLY"):
            replica.ask("SET", "b", "2")
        primary.ask("SET", "b", "2")
        await steps.follow(replica.address, primary.address, record_of(primary, replica))
        wait_until(lambda: replica.ask("GET", "b") == b"2", "it has the write")
    assert primary.info("stats")["sync_partial_ok"] == "1"


async def test_a_frozen_primary_takes_no_writes_and_can_be_promoted_again(start_fleet: StartFleet) -> None:
    primary, _ = pair(start_fleet)
    primary.ask("SET", "a", "1")
    offset = int(primary.info("replication")["master_repl_offset"])
    async with open_nodes() as nodes, NodeLink(primary.address) as client:
        await client.request("PING")
        steps = steps_over(nodes)
        candidate = await steps.freeze(primary.address, cut_clients=True)
        assert candidate.replication.offset >= offset
        with trio.fail_after(5):
            await client.wait_closed()
        with pytest.raises(Exception, match="READONLY"):
            primary.ask("SET", "a", "2")
        again = await steps.promote(primary.address)
        assert again.lineage.replid2 == candidate.replication.lineage.replid
        primary.ask("SET", "a", "2")


async def test_a_promoted_replica_says_so_and_branches_off(start_fleet: StartFleet) -> None:
    _, replica = pair(start_fleet)
    async with open_nodes() as nodes:
        steps = steps_over(nodes)
        candidate = await steps.freeze(replica.address)
        promoted = await steps.promote(replica.address)
        assert promoted.run_id == candidate.run_id
        assert promoted.lineage.replid2 == candidate.replication.lineage.replid
        assert promoted.lineage.second_offset == candidate.replication.offset + 1
        assert promoted.lineage.has(candidate.replication.lineage.replid, candidate.replication.offset)
        assert await steps.inspect(replica.address) == promoted


async def test_what_a_frozen_process_was_told_it_does_when_it_wakes_up(start_fleet: StartFleet) -> None:
    """Fact 3, for commands: giving up on a reply takes nothing back."""
    primary, _ = pair(start_fleet)
    primary.freeze()
    async with open_nodes() as nodes:
        with pytest.raises(StepError, match="no reply"):
            await steps_over(nodes).freeze(primary.address)
    primary.thaw()
    wait_until(lambda: primary.info("replication")["role"] == "slave", "it froze")


async def test_a_handover_loses_nothing(start_fleet: StartFleet) -> None:
    primary, replica, other = pair(start_fleet, replicas=2)
    for number in range(1000):
        primary.ask("SET", f"key:{number}", number)
    wait_online(primary, replica, other)
    async with open_nodes() as nodes:
        steps = steps_over(nodes)
        found = await steps.hand_over(primary.address, replica.address)
        assert found.run_id == replica.info("server")["run_id"]
        assert replica.ask("DBSIZE") == 1001
        assert primary.info("replication")["role"] == "slave"
        now = replace(record_of(replica, other), nodes=(), run_id="")
        await steps.follow(other.address, replica.address, now)
        wait_until(lambda: other.info("replication")["master_link_status"] == "up", "it follows")
        with pytest.raises(StepError, match="does not have") as refused:
            await steps.hand_over(replica.address, Address("127.0.0.1", 1))
        assert refused.value.is_refused


async def test_a_handover_to_a_replica_that_hangs_is_given_up_by_the_primary(start_fleet: StartFleet) -> None:
    primary, replica = pair(start_fleet)
    wait_online(primary, replica)
    replica.freeze()
    try:
        async with open_nodes() as nodes:
            settings = FailoverSettings(handover_timeout=0.3)
            steps = Steps(nodes, ShortLeadership(), settings)
            with pytest.raises(StepError, match="did not catch up") as refused:
                await steps.hand_over(primary.address, replica.address)
        assert refused.value.is_refused
        assert primary.ask("SET", "a", "1") == b"OK"
    finally:
        replica.thaw()


async def test_a_handover_that_may_outlast_the_lease_is_not_begun(start_fleet: StartFleet) -> None:
    primary, replica = pair(start_fleet)
    wait_online(primary, replica)
    async with open_nodes() as nodes:
        settings = FailoverSettings(handover_timeout=2.0, command_timeout=0.5)
        short = Steps(nodes, ShortLeadership(0.9), settings)
        with pytest.raises(StepError, match="the lease may run out") as refused:
            await short.hand_over(primary.address, replica.address)
        assert refused.value.is_refused
        assert primary.info("replication")["role"] == "master"
        shorter_than_usual = Steps(nodes, ShortLeadership(1.6), settings)
        found = await shorter_than_usual.hand_over(primary.address, replica.address)
        assert found.run_id == replica.info("server")["run_id"]


async def test_a_handover_under_way_is_aborted_by_freezing(start_fleet: StartFleet) -> None:
    primary, replica = pair(start_fleet)
    wait_online(primary, replica)
    replica.freeze()
    try:
        assert primary.ask("FAILOVER", "TO", replica.address.host, replica.port, "TIMEOUT", 60000) == b"OK"
        async with open_nodes() as nodes:
            candidate = await steps_over(nodes).freeze(primary.address)
        assert candidate.replication.is_frozen
    finally:
        replica.thaw()


async def test_a_node_that_cannot_save_says_so_when_it_is_frozen(start_fleet: StartFleet) -> None:
    options = ("--save", "3600", "1", "--enable-protected-configs", "yes")
    fleet: Fleet = start_fleet(shards=1, replicas=1, args=options)
    replica = fleet.shards[0].replicas[0]
    assert isinstance(replica, RedisNode)
    gone = replica.directory / "gone"
    gone.mkdir()
    replica.ask("CONFIG", "SET", "dir", str(gone))
    gone.rmdir()
    replica.ask("BGSAVE", "SCHEDULE")
    wait_until(lambda: replica.info("persistence")["rdb_last_bgsave_status"] == "err", "saving failed")
    async with open_nodes() as nodes:
        assert not (await steps_over(nodes).freeze(replica.address)).can_write


async def test_every_command_needs_the_lease(start_fleet: StartFleet) -> None:
    primary, replica = pair(start_fleet)
    async with open_nodes() as nodes:
        steps = steps_over(nodes, lease=0.4)  # shorter than a step may take
        with pytest.raises(LeadershipLostError):
            await steps.freeze(replica.address)
        with pytest.raises(LeadershipLostError):
            await steps.promote(replica.address)
    assert replica.info("replication")["master_link_status"] == "up"
    assert primary.info("replication")["role"] == "master"


async def test_dead_nodes_and_refusals_are_told_apart(start_fleet: StartFleet) -> None:
    primary, replica = pair(start_fleet)
    replica.kill()
    async with open_nodes() as nodes:
        steps = steps_over(nodes)
        with pytest.raises(StepError, match="refused") as dead:
            await steps.freeze(replica.address)
        assert not dead.value.is_refused
        primary.ask("ACL", "SETUSER", "default", "-config")
        with pytest.raises(StepError, match="NOPERM") as refused:
            await steps.configure(primary.address, None)
        assert refused.value.is_refused


async def test_keys_are_counted_over_all_databases(start_fleet: StartFleet) -> None:
    primary, _ = pair(start_fleet)
    async with open_nodes() as nodes, NodeLink(primary.address) as link:
        assert await steps_over(nodes).count_keys(primary.address) == 0
        await link.request("SET", "a", "1")
        await link.request("SET", "a", "1", db=3)
        assert await steps_over(nodes).count_keys(primary.address) == 2


async def test_what_we_need_is_configured(start_fleet: StartFleet) -> None:
    primary, _ = pair(start_fleet)
    async with open_nodes() as nodes, NodeLink(primary.address) as link:
        await steps_over(nodes).configure(primary.address, 1)
        assert await link.request("CONFIG", "GET", "repl-ping-replica-period") == [
            b"repl-ping-replica-period",
            b"1",
        ]
        assert await link.request("CONFIG", "GET", "min-replicas-to-write") == [
            b"min-replicas-to-write",
            b"1",
        ]


async def overflow_backlog(steps: Steps, primary: RedisNode, replica: RedisNode) -> Candidate:
    """Freeze a replica that has 20 keys, and write more than the backlog holds: it needs a full sync."""
    for number in range(20):
        primary.ask("SET", f"old:{number}", "1")
    wait_until(lambda: replica.ask("DBSIZE") == 20, "it has all")
    candidate = await steps.freeze(replica.address)
    primary.ask("CONFIG", "SET", "repl-backlog-size", 16384)
    for number in range(50):
        primary.ask("SET", f"new:{number}", os.urandom(1000))
    return candidate


async def test_a_replica_that_waits_for_a_full_sync_still_has_what_it_had(start_fleet: StartFleet) -> None:
    primary, replica = pair(start_fleet)
    async with open_nodes() as nodes:
        steps = steps_over(nodes)
        before = await overflow_backlog(steps, primary, replica)
        primary.ask("CONFIG", "SET", "rdb-key-save-delay", 1_000_000)  # microseconds: it does not end soon
        await steps.follow(replica.address, primary.address, record_of(primary, replica))
        wait_until(lambda: replica.info("replication")["master_sync_in_progress"] == "1", "it syncs")
        again = await steps.freeze(replica.address)
    assert again.replication.offset == before.replication.offset
    assert replica.ask("DBSIZE") == 20


async def test_a_replica_that_loads_a_full_sync_has_no_place_and_cannot_be_frozen(
    start_fleet: StartFleet,
) -> None:
    """It bears the name of its primary's history, but what it had of it is gone."""
    primary, replica = pair(start_fleet)
    async with open_nodes() as nodes:
        steps = Steps(nodes, ShortLeadership(), replace(SETTINGS, freeze_timeout=5.0))
        before = await overflow_backlog(steps, primary, replica)
        replica.ask("CONFIG", "SET", "key-load-delay", 20_000)  # microseconds
        replica.ask("CONFIG", "SET", "loading-process-events-interval-bytes", 1024)
        await steps.follow(replica.address, primary.address, record_of(primary, replica))

        def loading() -> Replication | None:
            seen = read_replication(read_fields(replica.ask("INFO", "replication", timeout=5.0)))
            return seen if seen.offset == NO_OFFSET else None

        seen = wait_until(loading, "it loads")
        assert seen.lineage.replid == before.replication.lineage.replid
        with pytest.raises(StepError, match="LOADING"):
            await steps.freeze(replica.address)
    frozen = Candidate(replica.address, replace(seen, follows=DEAD_END, is_syncing=False))
    shard = replace(record_of(primary), lineage=seen.lineage)
    assert "never been in sync" in (why_not_electable(frozen, shard) or "")


async def test_a_replica_that_was_never_in_sync_says_so(start_fleet: StartFleet) -> None:
    fleet: Fleet = start_fleet(shards=1, replicas=0)
    stray = fleet.open_node(args=("--replicaof", "127.0.0.1", "1"))
    assert isinstance(stray, RedisNode)
    seen = read_replication(read_fields(stray.ask("INFO", "replication")))
    assert (seen.role, seen.is_frozen, seen.is_link_up) == (Role.REPLICA, True, False)
    assert seen.offset == NO_OFFSET


async def test_who_would_give_up_data_is_not_told_to_follow(start_fleet: StartFleet) -> None:
    fleet: Fleet = start_fleet(shards=2, replicas=0)
    empty, full = (s.primary for s in fleet.shards if isinstance(s.primary, RedisNode))
    full.ask("SET", "a", "1")
    shard = record_of(empty, full)
    async with open_nodes() as nodes:
        steps = steps_over(nodes)
        with pytest.raises(StepError, match=r"holds keys, and .* none"):
            await steps.follow(full.address, empty.address, shard)
        empty.ask("SET", "b", "1")
        with pytest.raises(StepError, match="by somebody else"):
            await steps.follow(full.address, empty.address, shard)
        with pytest.raises(StepError, match="FLUSHALL"):
            await steps.follow(full.address, empty.address, replace(shard, joined=(empty.address,)))
        alias = replace(full.address, host="localhost")
        with pytest.raises(StepError, match="same process"):
            await steps.follow(alias, full.address, replace(shard, run_id=""))
        with pytest.raises(StepError, match="restarted"):
            await steps.follow(full.address, empty.address, replace(shard, run_id="before"))
    assert (full.info("replication")["role"], full.ask("DBSIZE")) == ("master", 1)


async def test_another_process_than_was_frozen_is_not_promoted(start_fleet: StartFleet) -> None:
    _, replica = pair(start_fleet)
    async with open_nodes() as nodes:
        steps = steps_over(nodes)
        candidate = await steps.freeze(replica.address)
        await trio.to_thread.run_sync(replica.restart)
        with pytest.raises(StepError, match="process"):
            await steps.promote(replica.address, candidate.run_id)
    assert replica.info("replication")["role"] == "slave"


def has_all(replica: RedisNode, primary: RedisNode) -> bool:
    """By offsets: an engine may send a replica nothing for a moment although its link is up."""
    there = primary.info("replication")["master_repl_offset"]
    return replica.info("replication").get("slave_repl_offset") == there


@pytest.mark.parametrize("is_backlog_lost", [False, True])
async def test_a_relay_gives_who_is_behind_all_that_the_other_has(
    start_fleet: StartFleet, is_backlog_lost: bool
) -> None:
    """Whatever kind of sync it takes, both have one history then, and the target as much as the source."""
    primary, target, source = pair(start_fleet, replicas=2)
    wait_online(primary, target, source)
    async with open_nodes() as nodes:
        steps = steps_over(nodes)
        before = record_of(primary, target, source)
        behind = await steps.freeze(target.address)
        for number in range(200):
            primary.ask("SET", f"key:{number}", os.urandom(1000))
        wait_until(lambda: has_all(source, primary), "the source has what it is asked for later")
        if is_backlog_lost:
            source.ask("CONFIG", "SET", "repl-backlog-size", 16384)
        primary.kill()
        lost = replace(before.fenced(), promise=Promise(frozenset({target.address, source.address}), 1))
        unfit = replace(await steps.freeze(source.address), can_write=False)
        choice = choose([behind, unfit], lost)
        assert (choice.best, choice.source) == (behind, unfit)
        promoted = await steps.promote(source.address, unfit.run_id)
        lost = replace(lost, lineage=promoted.lineage)
        await steps.catch_up(target.address, source.address, lost)
        again = [
            await steps.freeze(target.address),
            replace(await steps.freeze(source.address), can_write=False),
        ]
    choice = choose(again, lost)
    assert choice.best is not None
    assert (choice.best.address, choice.source) == (target.address, None)
    assert target.ask("DBSIZE") == source.ask("DBSIZE") == 201
