"""Scripts and functions are on every shard, and come back where they were lost."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
import trio

from shardproxy.commands.sources import ENTRY, Sources
from shardproxy.fleet import Fleet, RedisNode
from tests.fixtures.engines import StartFleet
from tests.fixtures.offload import ask_engine, open_desk

BODY = b"return {KEYS[1], ARGV[1]}"
LIBRARY = "#!lua name=lib\nredis.register_function('f', function(keys, args) return keys[1] end)"


@pytest.fixture
def scripted(fleet: Fleet) -> Iterator[Fleet]:
    """The shared fleet, without scripts and functions before and after."""
    for _ in range(2):
        for node in primaries(fleet):
            node.ask("SCRIPT", "FLUSH")
            node.ask("FUNCTION", "FLUSH")
        if _ == 0:
            yield fleet


def digest_of(body: bytes) -> str:
    """What EVALSHA calls a script."""
    return hashlib.sha1(body, usedforsecurity=False).hexdigest()


def primaries(fleet: Fleet) -> list[RedisNode]:
    return [shard.primary for shard in fleet.shards if isinstance(shard.primary, RedisNode)]


async def test_script_is_loaded_everywhere(scripted: Fleet) -> None:
    digest = digest_of(BODY)
    async with open_desk(scripted) as desk:
        assert await desk.ask("SCRIPT", "EXISTS", digest, "nope") == b"*2\r\n:0\r\n:0\r\n"
        assert await desk.ask("SCRIPT", "LOAD", BODY) == b"$40\r\n%b\r\n" % digest.encode()
        for node in primaries(scripted):
            assert node.ask("SCRIPT", "EXISTS", digest) == [1]
        assert await desk.ask("SCRIPT", "EXISTS", digest, "nope") == b"*2\r\n:1\r\n:0\r\n"
        primaries(scripted)[1].ask("SCRIPT", "FLUSH")
        assert (
            await desk.ask("SCRIPT", "EXISTS", digest) == b"*1\r\n:1\r\n"
        )  # it comes back when it is called
        assert await desk.ask("SCRIPT", "FLUSH") == b"+OK\r\n"
        assert primaries(scripted)[0].ask("SCRIPT", "EXISTS", digest) == [0]
        assert await desk.ask("SCRIPT", "EXISTS", digest) == b"*1\r\n:0\r\n"


async def test_a_script_that_was_run_exists_where_it_can_be_brought(scripted: Fleet) -> None:
    digest = digest_of(BODY)
    primaries(scripted)[1].ask("EVAL", BODY, 1, "k", "v")
    async with open_desk(scripted) as desk:
        assert await desk.ask("SCRIPT", "EXISTS", digest) == b"*1\r\n:0\r\n"
        desk.run[digest] = BODY
        assert await desk.ask("SCRIPT", "EXISTS", digest.upper()) == b"*1\r\n:1\r\n"
        for node in primaries(scripted):
            node.ask("SCRIPT", "FLUSH")
        assert await desk.ask("SCRIPT", "EXISTS", digest) == b"*1\r\n:0\r\n"  # it may be none at all
        assert await desk.ask("EVALSHA", digest, 1, "k", "v") == b"*2\r\n$1\r\nk\r\n$1\r\nv\r\n"


@pytest.mark.parametrize(
    "words",
    [
        ["SCRIPT", "LOAD", "(("],
        ["SCRIPT", "FLUSH", "nope"],
        ["SCRIPT", "KILL"],
        ["FUNCTION", "KILL"],
        ["FUNCTION", "LOAD", "nope"],
        ["FUNCTION", "DELETE", "nope"],
        ["FUNCTION", "FLUSH", "nope"],
        ["FUNCTION", "RESTORE", "nope"],
        ["FUNCTION", "LIST", "nope"],
        ["FUNCTION", "LIST"],
        ["FUNCTION", "STATS"],
        ["EVALSHA", "nope", "0"],
        ["FCALL", "nope", "1", "a"],
    ],
)
async def test_reply_is_the_engines(scripted: Fleet, words: list[str]) -> None:
    for resp in (2, 3):
        async with open_desk(scripted) as desk:
            ours = await desk.ask(*words, resp=resp)
        assert ours == await ask_engine(primaries(scripted)[0], *words, resp=resp)


async def test_lost_script_is_loaded_again(scripted: Fleet) -> None:
    async with open_desk(scripted) as desk:
        await desk.ask("SCRIPT", "LOAD", BODY)
        for node in primaries(scripted):
            node.ask("SCRIPT", "FLUSH")
        digest = digest_of(BODY)
        for number in range(10):
            reply = await desk.ask("EVALSHA", digest.upper(), 1, f"key{number}", "arg")
            assert reply == b"*2\r\n$4\r\nkey%d\r\n$3\r\narg\r\n" % number
        await desk.ask("SCRIPT", "FLUSH")
        assert (await desk.ask("EVALSHA", digest, 1, "a", "b")).startswith(b"-NOSCRIPT")


async def test_functions_are_everywhere_and_lost_ones_return(scripted: Fleet) -> None:
    async with open_desk(scripted) as desk:
        assert await desk.ask("FUNCTION", "LOAD", LIBRARY) == b"$3\r\nlib\r\n"
        assert await desk.ask("FUNCTION", "LOAD", LIBRARY) == b"-ERR Library 'lib' already exists\r\n"
        assert await desk.ask("FUNCTION", "LOAD", "REPLACE", LIBRARY) == b"$3\r\nlib\r\n"
        assert b"library_name" in await desk.ask("FUNCTION", "LIST")
        primaries(scripted)[0].ask("FUNCTION", "FLUSH")
        for key in "abcdef":
            assert await desk.ask("FCALL", "f", 1, key) == b"$1\r\n%b\r\n" % key.encode()
        assert len(primaries(scripted)[0].ask("FUNCTION", "LIST")) == 1
        dump = (await desk.ask("FUNCTION", "DUMP")).split(b"\r\n", 1)[1][:-2]
        assert await desk.ask("FUNCTION", "DELETE", "lib") == b"+OK\r\n"
        assert [node.ask("FUNCTION", "LIST") for node in primaries(scripted)] == [[], [], []]
        assert await desk.ask("FUNCTION", "RESTORE", dump) == b"+OK\r\n"
        assert [len(node.ask("FUNCTION", "LIST")) for node in primaries(scripted)] == [1, 1, 1]
        assert await desk.ask("FUNCTION", "FLUSH") == b"+OK\r\n"


async def test_running_script_is_found_and_killed(start_fleet: StartFleet) -> None:
    fleet: Fleet = start_fleet(shards=2, replicas=0, args=["--busy-reply-threshold", "1"])
    busy = primaries(fleet)[1]
    async with open_desk(fleet) as desk, trio.open_nursery() as nursery:
        nursery.start_soon(ask_engine, busy, "EVAL", "while true do end", 0)
        with trio.fail_after(5):
            while (reply := await desk.ask("SCRIPT", "KILL")) != b"+OK\r\n":
                assert reply.startswith(b"-NOTBUSY")
        with trio.fail_after(5):
            while not (reply := await desk.ask("SCRIPT", "KILL")).startswith(b"-NOTBUSY"):
                assert reply == b"+OK\r\n"


async def test_replicas_get_scripts_and_get_lost_ones_back(scripted: Fleet) -> None:
    replicas = [node for shard in scripted.shards for node in shard.replicas if isinstance(node, RedisNode)]
    digest = digest_of(BODY)
    async with open_desk(scripted) as desk:
        await desk.ask("SCRIPT", "LOAD", BODY)
        assert [node.ask("SCRIPT", "EXISTS", digest) for node in replicas] == [[1]] * 3
        replicas[0].ask("SCRIPT", "FLUSH")
        for key in "abcdef":
            reply = await desk.ask("EVALSHA_RO", digest, 1, key, "arg")
            assert reply == b"*2\r\n$1\r\n%b\r\n$3\r\narg\r\n" % key.encode()
        assert replicas[0].ask("SCRIPT", "EXISTS", digest) == [1]
        await desk.ask("SCRIPT", "FLUSH")
        assert [node.ask("SCRIPT", "EXISTS", digest) for node in replicas] == [[0]] * 3


async def test_a_replica_that_hangs_holds_up_no_script(start_fleet: StartFleet) -> None:
    fleet: Fleet = start_fleet(shards=1, replicas=1)
    fleet.shards[0].replicas[0].freeze()
    async with open_desk(fleet) as desk:
        assert (await desk.ask("SCRIPT", "LOAD", BODY)).startswith(b"$40")
        assert await desk.ask("EVALSHA", digest_of(BODY), 1, "a", "b") == b"*2\r\n$1\r\na\r\n$1\r\nb\r\n"


async def test_functions_return_when_every_node_has_lost_them(scripted: Fleet) -> None:
    def lose() -> None:
        for node in primaries(scripted):
            node.ask("FUNCTION", "FLUSH")

    async with open_desk(scripted) as desk:
        assert await desk.ask("FUNCTION", "LOAD", LIBRARY) == b"$3\r\nlib\r\n"
        assert await desk.ask("FUNCTION", "LOAD", LIBRARY.replace("lib", "lib2").replace("'f'", "'g'")) == (
            b"$4\r\nlib2\r\n"
        )
        lose()
        for key in "abcdef":
            assert await desk.ask("FCALL", "f", 1, key) == b"$1\r\n%b\r\n" % key.encode()
            assert (
                await desk.ask("FCALL_RO", "g", 1, key)
                == b"-ERR Can not execute a script with write flag using *_ro command.\r\n"
            )
        dump = (await desk.ask("FUNCTION", "DUMP")).split(b"\r\n", 1)[1][:-2]
        assert await desk.ask("FUNCTION", "DELETE", "lib2") == b"+OK\r\n"
        lose()
        assert await desk.ask("FCALL", "f", 1, "a") == b"$1\r\na\r\n"
        assert await desk.ask("FCALL", "g", 1, "a") == b"-ERR Function not found\r\n"
        assert await desk.ask("FUNCTION", "FLUSH") == b"+OK\r\n"
        assert await desk.ask("FCALL", "f", 1, "a") == b"-ERR Function not found\r\n"
        assert await desk.ask("FUNCTION", "RESTORE", dump) == b"+OK\r\n"
        lose()
        assert await desk.ask("FCALL", "g", 1, "a") == b"$1\r\na\r\n"


def test_code_is_bounded_and_the_least_used_goes_first() -> None:
    sources = Sources(capacity=3 * (10 + ENTRY))
    for name in "abc":
        sources.keep("main", name, b"x" * 10)
    assert sources.get("main", "a") == b"x" * 10
    sources.keep("main", "d", b"x" * 10)
    assert set(sources.all("main")) == {"a", "c", "d"}
    assert sources.get("other", "a") is None
    sources.keep("other", "a", b"y")
    sources.forget("main", "a")
    sources.forget("main", "nope")
    assert sources.get("other", "a") == b"y"
    sources.forget_all("main")
    assert sources.all("main") == {}
    sources.keep("main", "a", b"x" * 1000)
    assert sources.get("main", "a") is None
    assert sources.get("other", "a") == b"y"
