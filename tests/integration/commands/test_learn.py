"""Commands the table lacks are learned from the engines; names nobody knows do not trouble them."""

from __future__ import annotations

import json

import pytest

from shardproxy.commands import learn
from shardproxy.commands.table import Table
from shardproxy.fleet import Fleet, RedisNode
from tests.fixtures.engines import StartFleet
from tests.fixtures.offload import RETRIED, open_desk, topology_at

FULL = Table.load()


def table_without(*names: str) -> Table:
    values = json.loads(FULL.encode())
    values["commands"] = [entry for entry in values["commands"] if entry["name"] not in names]
    return Table.parse(json.dumps(values))


# What becomes of keys that are found by words, which a table entry cannot say in general.
FOUND_BY_WORDS = {"streams": "refused", "sort": "range", "georadius": "range"}


async def test_learned_keys_are_those_of_the_table(fleet: Fleet) -> None:
    keyed = [
        c for c in FULL.commands.values() if c.route in ("shard", "split", "block") and not c.subcommands
    ]
    async with open_desk(fleet, table=table_without(*(c.name for c in keyed))) as desk:
        for command in keyed:
            assert await desk.ask(command.name, "a") == RETRIED
        learned = Table.parse(desk.tables[-1].decode())
    for command in keyed:
        found = learned.get(command.name)
        assert found is not None, command.name
        if command.keys in FOUND_BY_WORDS:
            assert FOUND_BY_WORDS[command.keys] in (found.keys, found.route), command.name
            continue
        assert found.route == ("block" if command.route == "block" else "shard"), command.name
        assert (found.keys, found.arity, found.first, found.last, found.step) == (
            command.keys, command.arity, command.first, command.last, command.step,
        )  # fmt: skip
        assert (set(found.flags), found.categories) == (set(command.flags), command.categories)
        assert found.key_specs == command.key_specs, command.name


async def test_what_cannot_be_routed_is_refused(fleet: Fleet) -> None:
    async with open_desk(fleet, table=table_without("ssubscribe")) as desk:
        assert await desk.ask("ssubscribe") == RETRIED
        learned = Table.parse(desk.tables[-1].decode()).get("ssubscribe")
    assert learned is not None
    assert learned.route == "refused"
    assert learned.note == "its subscriptions would not survive on shared connections"


@pytest.mark.parametrize("shards", [1, 2])
async def test_command_without_keys_is_learned_alike_whoever_uses_it_first(
    start_fleet: StartFleet, shards: int
) -> None:
    fleet: Fleet = start_fleet(shards=shards, replicas=0)
    async with open_desk(fleet, table=table_without("lolwut")) as desk:
        assert await desk.ask("LOLWUT") == RETRIED
        learned = Table.parse(desk.tables[-1].decode()).get("lolwut")
    assert learned is not None
    assert (learned.route, learned.note) == ("only", "it names no key, so no shard")


async def test_container_without_that_subcommand_says_so(fleet: Fleet) -> None:
    async with open_desk(fleet) as desk:
        assert (
            await desk.ask("OBJECT", "NOPE", "a") == b"-ERR unknown subcommand 'NOPE'. Try OBJECT HELP.\r\n"
        )


async def test_unknown_names_are_asked_for_once(start_fleet: StartFleet) -> None:
    fleet: Fleet = start_fleet(shards=1, replicas=0)
    node = fleet.shards[0].primary
    assert isinstance(node, RedisNode)
    async with open_desk(fleet) as desk:
        for _ in range(20):
            assert await desk.ask("nope", "a") == RETRIED
        for number in range(200):
            assert await desk.ask(f"nope{number}") == RETRIED
        assert await desk.ask("x" * 10_000) == RETRIED
        assert await desk.ask("a b\r\n") == RETRIED
        assert desk.tables == []
    calls = node.info("commandstats").get("cmdstat_command|info", "calls=0").split(",")[0]
    assert int(calls.removeprefix("calls=")) <= learn.UNKNOWN_PER_SECOND * 2 + 1


async def test_nodes_that_are_down_are_named_and_left_alone() -> None:
    async with open_desk(topology_at("127.0.0.1:1")) as desk:
        for _ in range(2):
            assert await desk.ask("nope") == (
                b"-ERR cannot ask the nodes what the command 'nope' is: "
                b"no node of cluster main answers: node 127.0.0.1:1: connection refused\r\n"
            )
