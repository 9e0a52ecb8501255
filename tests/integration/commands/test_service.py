"""Every offload is answered once, whatever happens to its handler; what hangs does not hold up the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import trio
import trio.testing

from shardproxy.commands import handlers, service
from shardproxy.commands.call import Call
from shardproxy.fleet import Fleet
from shardproxy.wire.reply import Reply
from tests.fixtures.engines import StartFleet
from tests.fixtures.fake_engine import Answer, FakeEngine
from tests.fixtures.offload import CLUSTER, open_desk, topology_at, topology_of


async def test_bug_in_a_handler_is_one_error_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(call: Call) -> Reply:
        return 1 // 0

    monkeypatch.setattr(service, "HANDLERS", {**handlers.HANDLERS, "role": broken})
    async with open_desk(topology_at("127.0.0.1:1")) as desk:
        assert await desk.ask("ROLE") == b"-ERR role failed in the proxy: ZeroDivisionError\r\n"
        assert await desk.ask("CLUSTER", "KEYSLOT", "a") == b":15495\r\n"


async def test_reply_that_cannot_be_encoded_is_one_error_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "HANDLERS", {"role": lambda call: object()})
    async with open_desk(topology_at("127.0.0.1:1")) as desk:
        assert (await desk.ask("ROLE")).startswith(b"-ERR role failed in the proxy")


async def test_command_nobody_handles_says_so() -> None:
    async with open_desk(topology_at("127.0.0.1:1")) as desk:
        assert await desk.ask("MULTI") == b"-ERR MULTI is not supported yet\r\n"


async def test_hanging_command_is_given_up(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    async def hanging(call: Call) -> Reply:
        await trio.sleep_forever()

    monkeypatch.setattr(service, "HANDLERS", {**handlers.HANDLERS, "lastsave": hanging})
    monkeypatch.setattr(service, "DEADLINE", 5.0)
    async with open_desk(topology_at("127.0.0.1:1")) as desk:
        desk.settings = replace(desk.settings, slow=2.0)
        assert await desk.ask("LASTSAVE") == b"-ERR no answer within 7 s\r\n"


@pytest.mark.parametrize("command", ["SAVE", "BGSAVE", "KEYS *", "FLUSHALL", "SCRIPT FLUSH"])
async def test_what_may_take_long_has_as_long_as_a_busy_node(
    fake_engine: Callable[[Answer], FakeEngine], command: str
) -> None:
    engine = fake_engine(lambda connection, request: b"")  # never answers
    async with open_desk(topology_at(str(engine.address))) as desk:
        desk.settings = replace(desk.settings, slow=0.3)
        reply = await desk.ask(*command.split())
        assert reply.endswith(b"no reply within 0.3 s\r\n")


async def test_commands_that_need_no_node_do_not_wait_for_those_that_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running = 0

    async def hanging(call: Call) -> Reply:
        nonlocal running
        running += 1
        await trio.sleep_forever()

    monkeypatch.setattr(service, "HANDLERS", {**handlers.HANDLERS, "lastsave": hanging})
    async with open_desk(topology_at("127.0.0.1:1")) as desk, trio.open_nursery() as nursery:
        for _ in range(service.RUNNING_PER_CLUSTER * 2):
            nursery.start_soon(desk.ask, "LASTSAVE")
        await trio.testing.wait_all_tasks_blocked()
        assert running == service.RUNNING_PER_CLUSTER
        assert await desk.ask("CLUSTER", "KEYSLOT", "a") == b":15495\r\n"
        nursery.cancel_scope.cancel()


async def test_node_that_is_down_is_named() -> None:
    async with open_desk(topology_at("127.0.0.1:1")) as desk:
        assert await desk.ask("LASTSAVE") == b"-ERR shard 0: node 127.0.0.1:1: connection refused\r\n"
        assert (
            await desk.ask("MODULE", "LIST")
            == b"-ERR no node of cluster main answers: node 127.0.0.1:1: connection refused\r\n"
        )


async def test_replica_answers_for_a_primary_that_is_down(start_fleet: StartFleet) -> None:
    fleet: Fleet = start_fleet(shards=1, replicas=1)
    await trio.to_thread.run_sync(fleet.kill, fleet.shards[0].primary)
    async with open_desk(fleet) as desk:
        assert await desk.ask("MODULE", "LIST") == b"*0\r\n"


async def test_a_command_waits_for_a_shard_that_is_failing_over(fleet: Fleet) -> None:
    whole = topology_of(fleet)
    first = whole.shards[0]
    fenced = replace(first, primary=None, replicas=first.nodes)
    async with open_desk(fleet) as desk, trio.open_nursery() as nursery:
        desk.topologies[CLUSTER] = replace(whole, shards=(fenced, *whole.shards[1:]))
        answers: list[bytes] = []

        async def ask() -> None:
            answers.append(await desk.ask("DBSIZE"))

        nursery.start_soon(ask)
        await trio.sleep(0.1)  # some looks for a primary
        assert answers == []
        desk.topologies[CLUSTER] = whole
    assert answers == [b":0\r\n"]


async def test_a_shard_without_a_primary_is_not_waited_for_long(fleet: Fleet) -> None:
    whole = topology_of(fleet)
    fenced = tuple(replace(shard, primary=None, replicas=shard.nodes) for shard in whole.shards)
    async with open_desk(replace(whole, shards=fenced)) as desk:
        desk.settings = replace(desk.settings, park=0.1)
        reply = await desk.ask("DBSIZE")
        assert reply.startswith(b"-TRYAGAIN shard ")
        assert reply.endswith(b" failing over, not executed there\r\n")
