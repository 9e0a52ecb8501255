"""Whatever transactions come among other commands, and however they are cut: over shards as in one engine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from itertools import chain, pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.fixtures.clients import Wire
from tests.fixtures.oracle import Pair, command, said
from tests.protocol.test_properties import ANY, Words, field, greeted, number, tagged, value, words

some = st.lists(tagged, min_size=1, max_size=3)
INSIDE = st.one_of(
    words("SET", tagged, value),
    words("GET", tagged),
    words("INCR", tagged),
    words("DEL", some),
    words("MGET", some),
    words("MSET", tagged, value, tagged, value),
    words("EXISTS", some),
    words("RPUSH", tagged, st.lists(value, min_size=1, max_size=3)),
    words("LRANGE", tagged, number, number),
    words("BLPOP", some, "0"),
    words("HSET", tagged, field, value),
    words("HGETALL", tagged),
    words("ZADD", tagged, number, field),
    words("ZUNIONSTORE", tagged, number, tagged, tagged),
    words("RENAME", tagged, tagged),
    words("EVAL", "return redis.call('INCR', KEYS[1])", number, tagged),
    words("EVAL", "return {1, ARGV[1]}", "0", value),
    words("XREAD", "BLOCK", "0", "STREAMS", tagged, "0"),
    words("PING"),
    words("ECHO", value),
    words("UNWATCH"),
)
WRONG = st.one_of(
    words("NOPE", value),
    words("GET"),
    words("MULTI"),
    words("WATCH", tagged),
    words("OBJECT", "NOPE", tagged),
)


def one(each: Words) -> tuple[Words, ...]:
    return (each,)


def transaction(inside: list[Words], end: str) -> tuple[Words, ...]:
    return (("MULTI",), *inside, (end,))


transactions: SearchStrategy[tuple[Words, ...]] = st.builds(
    transaction,
    st.lists(st.one_of(INSIDE, INSIDE, INSIDE, WRONG), max_size=6),
    st.sampled_from(["EXEC", "EXEC", "EXEC", "DISCARD"]),
)
outside = st.one_of(words("WATCH", some), words("UNWATCH"), words("EXEC"), words("DISCARD"), ANY)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(st.one_of(outside.map(one), transactions), min_size=1, max_size=8),
    cuts=st.lists(st.integers(0, 2000), max_size=6),
    resp=st.sampled_from([2, 3]),
)
def test_transactions_are_those_of_one_engine(
    pair: Pair, wire: Callable[..., Wire], parts: list[tuple[Words, ...]], cuts: list[int], resp: int
) -> None:
    pair.empty()
    data = b"".join(command(*each) for each in chain.from_iterable(parts))
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(bounds)]
    with (
        closing(greeted(wire(pair.plain.address), resp)) as plain,
        closing(greeted(wire(pair.sharded), resp)) as ours,
    ):
        assert said(ours, pieces) == said(plain, [data])  # closed, or what they watch holds a connection each
