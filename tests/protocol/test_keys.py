"""The data plane finds the keys an engine finds: what COMMAND GETKEYS names must share a slot, nothing else.

Commands are queued in a transaction, which checks their keys, and discarded: so any can be tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from redis.crc import key_slot

from shardproxy.commands.table import Command, Table
from shardproxy.fleet import RedisNode
from tests.fixtures.clients import ReplyError, Wire
from tests.fixtures.proxy import Proxy

ROUTES = ("shard", "split", "block")
COMMANDS = [c for c in Table.load().all() if c.route in ROUTES and not c.subcommands]
WITHOUT_KEYS = ("The command has no key arguments", "Invalid arguments specified for command")

Words = SearchStrategy[tuple[str, ...]]
key = st.sampled_from(["a", "b", "c", "{a}1", "{b}1", "{}", ""])
number = st.sampled_from(["0", "1", "2", "3", "9", "-1", "+1", "01", "x"])


def flat(parts: Iterable[Sequence[str]]) -> tuple[str, ...]:
    return tuple(chain.from_iterable(parts))


def option(*parts: SearchStrategy[str] | str) -> Words:
    return st.tuples(*(st.just(part) if isinstance(part, str) else part for part in parts))


def options(*choices: Words, most: int = 4) -> Words:
    return st.lists(st.one_of(*choices), max_size=most).map(flat)


def keys(least: int, most: int) -> Words:
    return st.lists(key, min_size=least, max_size=most).map(tuple)


STREAM_OPTIONS = options(option("COUNT", number), option("block", number), option("NOACK"))
GROUP = option(
    "GROUP", st.sampled_from(["g", "streams", "block"]), st.sampled_from(["c", "STREAMS", "count"])
)
# Once at most: of two destinations an engine takes the last, and its COMMAND GETKEYS names the first.
STORE = st.one_of(st.just(()), option("STORE", key), option("storedist", key))
SORT_OPTIONS = options(
    *(
        option("LIMIT", key, st.just("store")),
        option("get", key),
        option("BY", key),
        option("ASC"),
        option("alpha"),
    )
)
GEO_OPTIONS = options(option("COUNT", number), option("ASC"))


def requests(command: Command) -> Words:
    """Requests of that command; where its keys stand is drawn."""
    name = tuple(command.name.split("|"))
    least = abs(command.arity) - len(name)
    most = least if command.arity > 0 else least + 5
    parts: list[Words]
    if command.keys == "streams":
        group = GROUP if command.name == "xreadgroup" else st.just(())
        balanced = st.lists(st.tuples(key, key), min_size=1, max_size=3).map(flat)
        parts = [group, STREAM_OPTIONS, st.sampled_from([("STREAMS",), ("streams",)]), balanced]
    elif command.keys == "sort":
        parts = [keys(1, 1), SORT_OPTIONS, st.one_of(st.just(()), option("STORE", key))]
    elif command.keys == "georadius":
        parts = [keys(least, least), GEO_OPTIONS, STORE, GEO_OPTIONS]
    elif command.keys.startswith("numkeys:"):
        before = int(command.keys.removeprefix("numkeys:")) - 1
        parts = [keys(before, before), number.map(lambda n: (n,)), keys(max(0, least - before - 1), most)]
    else:
        parts = [keys(least, most)]
    return st.tuples(*parts).map(lambda drawn: (*name, *flat(drawn)))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: str(command.name))
def test_keys_are_what_an_engine_finds(
    command: Command, session_proxy: Proxy, session_plain: RedisNode, wire: Callable[..., Wire]
) -> None:
    proxy, engine = wire(session_proxy), wire(session_plain.address)

    @settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(requests(command))
    def check(request: tuple[str, ...]) -> None:
        found = engine.ask("COMMAND", "GETKEYS", *request)
        if isinstance(found, ReplyError):
            if str(found).removeprefix("ERR ") not in WITHOUT_KEYS:
                return  # the number of arguments
            found = []
        assert proxy.ask("MULTI") == b"OK"
        said = proxy.ask(*request)
        proxy.ask("DISCARD")
        slots = {key_slot(name) for name in found}
        expected = (
            b"QUEUED"
            if len(slots) < 2
            else ReplyError("CROSSSLOT Keys in request don't hash to the same slot")
        )
        assert said == expected, f"{request}: an engine finds {found}"

    check()
