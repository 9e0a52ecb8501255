"""Whatever keys, databases and transactions come, and however they are cut: one shard is one plain engine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from itertools import chain, pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.fixtures.clients import Wire
from tests.fixtures.oracle import Pair, command, said
from tests.protocol.test_properties import ANY, Words, greeted, key, names, number, value, words
from tests.protocol.test_transactions import WRONG, one, transaction

database = st.sampled_from([0, 1, 2, 15, 16, -1, "x", ""])
DATABASES = st.one_of(
    words("SELECT", database),
    words("MOVE", key, database),
    words("COPY", key, key, "DB", database),
    words("COPY", key, key, "REPLACE", "DB", database, "DB", database),
    words("SWAPDB", database, database),
    words("FLUSHDB"),
    words("DBSIZE"),
)
SLOTS = st.one_of(
    words("RENAME", key, key),
    words("RENAMENX", key, key),
    words("COPY", key, key),
    words("MSETNX", key, value, key, value),
    words("SUNIONSTORE", key, names),
    words("SMOVE", key, key, value),
    words("RPOPLPUSH", key, key),
    words("LMOVE", key, key, "LEFT", "RIGHT"),
    words("LMPOP", number, key, key, "LEFT"),
    words("ZUNIONSTORE", key, number, key, key),
    words("ZRANGESTORE", key, key, number, number),
    words("ZMPOP", number, key, key, "MIN"),
    words("BITOP", "OR", key, names),
    words("PFMERGE", key, names),
    words("SORT", key, "BY", "w_*", "GET", key, "ALPHA", "STORE", key),
    words("XREAD", "STREAMS", key, key, "0", "0"),
    words("EVAL", "return redis.call('MGET', unpack(KEYS))", number, key, key),
    words("EVAL", "return redis.call('APPEND', ARGV[1], 'x')", "0", key),
)
CONNECTION = st.one_of(
    words("CLIENT", "SETNAME", st.sampled_from(["a", "b", "", "a b"])),
    words("CLIENT", "GETNAME"),
    words("CLIENT", "NO-EVICT", st.sampled_from(["on", "off", "x"])),
)
OUTSIDE = st.one_of(ANY, SLOTS, DATABASES, words("WATCH", names), words("UNWATCH"), words("EXEC"), CONNECTION)
INSIDE = st.one_of(ANY, SLOTS, SLOTS, DATABASES, DATABASES, words("FLUSHALL"), CONNECTION)
transactions: SearchStrategy[tuple[Words, ...]] = st.builds(
    transaction,
    st.lists(st.one_of(INSIDE, INSIDE, INSIDE, INSIDE, WRONG), max_size=6),
    st.sampled_from(["EXEC", "EXEC", "EXEC", "DISCARD"]),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(st.one_of(OUTSIDE.map(one), transactions), min_size=1, max_size=8),
    cuts=st.lists(st.integers(0, 2000), max_size=6),
    resp=st.sampled_from([2, 3]),
    endpoint=st.sampled_from(["configuration", "primary"]),
)
def test_one_shard_is_one_engine(
    pair: Pair,
    wire: Callable[..., Wire],
    parts: list[tuple[Words, ...]],
    cuts: list[int],
    resp: int,
    endpoint: str,
) -> None:
    pair.empty()
    data = b"".join(command(*each) for each in chain.from_iterable(parts))
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(bounds)]
    with (
        closing(greeted(wire(pair.plain.address), resp)) as plain,
        closing(greeted(wire(pair.single.address(endpoint, "single")), resp)) as ours,
    ):
        assert said(ours, pieces) == said(plain, [data])
        # and whatever is in its databases is in those of the engine
        for db in (0, 1, 2, 15):
            for request in (("SELECT", db), ("DBSIZE",), ("GET", "a"), ("TYPE", "b")):
                assert ours.ask(*request) == plain.ask(*request)
