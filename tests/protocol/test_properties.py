"""Whatever keyed commands come, and however they are cut: over shards they say what one plain engine says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.fixtures.clients import Wire
from tests.fixtures.oracle import Pair, command, said

Words = tuple[bytes | str | int, ...]

# Left out on purpose: replies of several set members that are not numbers (their order is the engine's own),
# random picks, clocks. Types meet the same keys, so many commands are of the wrong type.
TAGGED = ["{t}1", "{t}2", "{t}3"]
KEYS = ["a", "b", "c", "d", "", "k\r\n", "x{y}", *TAGGED]
key = st.sampled_from(KEYS)
tagged = st.sampled_from(TAGGED)
number = st.integers(-3, 12)
value = st.one_of(number, st.binary(max_size=12), st.sampled_from([b"\r\n", b"$3\r\nabc\r\n", b"x" * 70]))
field = st.sampled_from(["f", "g", "h"])
names = st.lists(key, min_size=1, max_size=7)
same_slot = st.lists(tagged, min_size=1, max_size=4)


def words(*parts: SearchStrategy[object] | str) -> SearchStrategy[Words]:
    """A command whose parts are fixed or drawn; a drawn list stands for several arguments."""

    def flat(drawn: Iterable[object]) -> Words:
        result: list[bytes | str | int] = []
        for part in drawn:
            if isinstance(part, list | tuple):
                result.extend(part)
            else:
                assert isinstance(part, bytes | str | int)
                result.append(part)
        return tuple(result)

    return st.tuples(*(st.just(part) if isinstance(part, str) else part for part in parts)).map(flat)


pairs = st.lists(st.tuples(key, value), min_size=1, max_size=6).map(
    lambda found: [x for pair in found for x in pair]
)

ANY = st.one_of(
    words("SET", key, value),
    words("SET", key, value, st.sampled_from(["NX", "XX", "GET", "NOPE"])),
    words("GET", key),
    words("GETDEL", key),
    words("APPEND", key, value),
    words("INCRBY", key, number),
    words("SETRANGE", key, number, value),
    words("GETRANGE", key, number, number),
    words("STRLEN", key),
    words("TYPE", key),
    words("DUMP", key),
    words("PERSIST", key),
    words("MGET", names),
    words("MSET", pairs),
    words("DEL", names),
    words("UNLINK", names),
    words("EXISTS", names),
    words("TOUCH", names),
    words("HSET", key, field, value),
    words("HMGET", key, st.lists(field, min_size=1, max_size=3)),
    words("HINCRBY", key, field, number),
    words("HDEL", key, st.lists(field, min_size=1, max_size=3)),
    words("HLEN", key),
    words("LPUSH", key, st.lists(value, min_size=1, max_size=4)),
    words("RPUSH", key, st.lists(value, min_size=1, max_size=4)),
    words("LRANGE", key, number, number),
    words("LPOP", key),
    words("RPOP", key, number),
    words("LINSERT", key, st.sampled_from(["BEFORE", "AFTER"]), value, value),
    words("SADD", key, st.lists(number, min_size=1, max_size=4)),
    words("SREM", key, st.lists(number, min_size=1, max_size=4)),
    words("SMISMEMBER", key, st.lists(number, min_size=1, max_size=4)),
    words("SCARD", key),
    words("ZADD", key, number, field),
    words("ZINCRBY", key, number, field),
    words("ZRANGE", key, number, number, "WITHSCORES"),
    words("ZPOPMIN", key, number),
    words("ZSCORE", key, field),
    words("SETBIT", key, number, st.integers(0, 2)),
    words("BITCOUNT", key),
    words("PFADD", key, st.lists(value, max_size=3)),
    words("XADD", key, st.builds("{}-{}".format, st.integers(0, 9), st.integers(0, 3)), "f", value),
    words("XRANGE", key, "-", "+"),
    words("XLEN", key),
    words("OBJECT", "ENCODING", key),
    words("RENAME", tagged, tagged),
    words("RPOPLPUSH", tagged, tagged),
    words("SDIFFSTORE", tagged, same_slot),
    words("BITOP", "OR", tagged, same_slot),
    words("MSETNX", tagged, value, tagged, value),
    words("ZUNIONSTORE", tagged, "2", tagged, tagged),
    words("COPY", tagged, tagged),
    words("EVAL", "return redis.call('GET', KEYS[1])", "1", key),
    words("ECHO", value),
    words("PING"),
    words("NOPE", value),
    words("GET"),
)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    commands=st.lists(ANY, min_size=1, max_size=25),
    cuts=st.lists(st.integers(0, 2000), max_size=6),
    resp=st.sampled_from([2, 3]),
)
def test_shards_answer_as_one_engine(
    pair: Pair, wire: Callable[..., Wire], commands: list[Words], cuts: list[int], resp: int
) -> None:
    pair.empty()
    data = b"".join(command(*parts) for parts in commands)
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(bounds)]
    expected = said(greeted(wire(pair.plain.address), resp), [data])
    assert said(greeted(wire(pair.sharded), resp), pieces) == expected


def greeted(connection: Wire, resp: int) -> Wire:
    connection.ask("HELLO", resp)
    return connection
