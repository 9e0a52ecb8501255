"""Where the proxy answers for the engines, it answers what an engine would, byte for byte where it can."""

from __future__ import annotations

import pytest

from shardproxy.commands.table import Table
from shardproxy.fleet import Fleet, RedisNode, free_port
from shardproxy.wire.reply import Reply
from shardproxy.wire.resp import Incomplete, Reader
from tests.fixtures.engines import StartFleet
from tests.fixtures.offload import ask_engine, open_desk

EXTRAS = {"client|setinfo", "client|no-touch"}  # the proxy answers these whatever the engines' version


@pytest.fixture(scope="module")
def oracle(start_fleet_for_module: StartFleet) -> Fleet:
    """One engine that runs as a Redis Cluster's node: it answers CLUSTER too."""
    ports = ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
    return start_fleet_for_module(shards=1, replicas=0, args=ports)


def engine_of(fleet: Fleet) -> RedisNode:
    node = fleet.shards[0].primary
    assert isinstance(node, RedisNode)
    return node


def value_of(data: bytes) -> Reply:
    reader = Reader()
    reader.feed(data)
    value = reader.next()
    assert reader.is_idle
    assert not isinstance(value, Incomplete)
    return value


SAME = [
    "COMMAND COUNT",
    "COMMAND INFO get config|get XGROUP|CREATE nope get|x",
    "COMMAND DOCS get nope client|no-evict",
    "COMMAND FOO",
    "COMMAND LIST x",
    "COMMAND LIST FILTERBY ACLCAT nope",
    "COMMAND LIST FILTERBY PATTERN a b",
    "COMMAND LIST FILTERBY nope b",
    "COMMAND LIST FILTERBY MODULE nope",
    "COMMAND GETKEYS MGET a b",
    "COMMAND GETKEYS GET",
    "COMMAND GETKEYS nope a",
    "COMMAND GETKEYSANDFLAGS SORT a STORE b",
    "CONFIG GET save appendonly",
    "CONFIG GET nope",
    "CONFIG GET",
    "CONFIG FOO",
    "CLIENT LIST FOO",
    "CLIENT LIST TYPE nope",
    "CLIENT LIST TYPE",
    "CLIENT LIST ID",
    "CLIENT LIST ID x",
    "CLIENT LIST ID 77777",
    "CLIENT KILL",
    "CLIENT KILL 1.2.3.4:5",
    "CLIENT KILL ID x",
    "CLIENT KILL ID 0",
    "CLIENT KILL ID",
    "CLIENT KILL ID 77777",
    "CLIENT KILL ID 77777 TYPE",
    "CLIENT KILL TYPE nope",
    "CLIENT KILL USER nope",
    "CLIENT KILL FOO x",
    "CLIENT KILL SKIPME maybe",
    "CLIENT KILL TYPE slave",
    "CLIENT PAUSE x",
    "CLIENT PAUSE -1",
    "CLIENT PAUSE 1 nope",
    "CLIENT PAUSE 1 WRITE x",
    "CLIENT UNPAUSE",
    "CLIENT UNBLOCK x",
    "CLIENT UNBLOCK x nope",
    "CLIENT UNBLOCK 1 TIMEOUT x",
    "CLIENT PAUSE x nope",
    "CLIENT UNBLOCK 77777",
    "CLIENT UNBLOCK 77777 ERROR",
    "CLIENT UNBLOCK 1 nope",
    "PUBSUB CHANNELS",
    "PUBSUB CHANNELS a*",
    "PUBSUB NUMSUB",
    "PUBSUB NUMSUB a b",
    "PUBSUB NUMPAT",
    "PUBSUB SHARDCHANNELS",
    "PUBSUB SHARDNUMSUB a",
    "PUBSUB FOO",
    "CLUSTER",
    "CLUSTER FOO",
    "CLUSTER SLOTS x",
    "CLUSTER LINKS",
    "CLUSTER REPLICAS nope",
    "CLUSTER SLAVES nope",
    "CLUSTER COUNT-FAILURE-REPORTS nope",
    "CLUSTER KEYSLOT a",
    "CLUSTER KEYSLOT foo{bar}baz",
    "CLUSTER KEYSLOT {}a",
    "CLUSTER KEYSLOT a{b",
    "CLUSTER COUNTKEYSINSLOT 15495",
    "CLUSTER COUNTKEYSINSLOT 99999",
    "CLUSTER COUNTKEYSINSLOT -1",
    "CLUSTER COUNTKEYSINSLOT x",
    "CLUSTER GETKEYSINSLOT 15495 10",
    "CLUSTER GETKEYSINSLOT 1 x",
    "CLUSTER GETKEYSINSLOT 1 -1",
    "CLUSTER GETKEYSINSLOT 16384 1",
    "CLUSTER GETKEYSINSLOT -1 x",
    "INFO nope",
    "INFO errorstats",
    "MODULE LIST",
    "MODULE FOO",
    "ROLE",
    "LASTSAVE",
    "OBJECT FOO",
    "XINFO FOO a",
    "SCRIPT FOO",
    "ACL FOO",
]


@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize("request_line", SAME)
async def test_reply_is_the_engines(oracle: Fleet, request_line: str, resp: int) -> None:
    async with open_desk(oracle) as desk:
        ours = await desk.ask(*request_line.split(), resp=resp)
    assert ours == await ask_engine(engine_of(oracle), *request_line.split(), resp=resp)


@pytest.mark.parametrize("container", sorted(c.name for c in Table.load().commands.values() if c.subcommands))
async def test_help_is_the_engines(oracle: Fleet, container: str) -> None:
    async with open_desk(oracle) as desk:
        assert await desk.ask(container, "help") == await ask_engine(engine_of(oracle), container, "HELP")


NAMES = sorted(command.name for command in Table.load().all() if command.name not in EXTRAS)


@pytest.mark.parametrize("resp", [2, 3])
async def test_every_command_is_described_as_the_engine_does(oracle: Fleet, resp: int) -> None:
    async with open_desk(oracle) as desk:
        for name in NAMES:
            if name == "client":
                continue  # its subcommands include the extras
            ours = value_of(await desk.ask("COMMAND", "INFO", name, resp=resp))
            theirs = value_of(await ask_engine(engine_of(oracle), "COMMAND", "INFO", name, resp=resp))
            assert without_order(ours) == without_order(theirs), name
            docs = await desk.ask("COMMAND", "DOCS", name, resp=resp)
            if "|" in name or b"subcommands" not in docs:  # an engine's order of subcommands is random
                assert docs == await ask_engine(engine_of(oracle), "COMMAND", "DOCS", name, resp=resp)


def without_order(info: Reply) -> Reply:
    """COMMAND INFO with the subcommands sorted: their order changes with an engine's hash seed."""
    assert isinstance(info, list)
    command = info[0]
    assert isinstance(command, list)
    subcommands = command[9]
    assert isinstance(subcommands, list)
    return [*command[:9], sorted(subcommands, key=lambda sub: str(sub[0]))]


@pytest.mark.parametrize(
    "request_line",
    [
        "COMMAND",
        "COMMAND DOCS",
        "COMMAND INFO",
        "COMMAND LIST",
        "COMMAND LIST FILTERBY ACLCAT connection",
        "COMMAND LIST FILTERBY aclcat DANGEROUS",
        "COMMAND LIST FILTERBY PATTERN x*",
        "COMMAND LIST FILTERBY PATTERN [a-c]?[^x]*|*",
        r"COMMAND LIST FILTERBY PATTERN \z[r-p]*",
        "COMMAND LIST FILTERBY PATTERN [z",
    ],
)
async def test_lists_have_the_engines_members(oracle: Fleet, request_line: str) -> None:
    async with open_desk(oracle) as desk:
        ours = value_of(await desk.ask(*request_line.split(), resp=3))
    theirs = value_of(await ask_engine(engine_of(oracle), *request_line.split(), resp=3))
    assert names_in(ours) - {extra.encode() for extra in EXTRAS} == names_in(theirs)


def names_in(value: Reply) -> set[Reply]:
    if isinstance(value, dict):
        return set(value)
    assert isinstance(value, list)
    return {item[0] if isinstance(item, list) else item for item in value}
