"""Bytes in, bytes out: the proxy says what a plain engine says, in any pieces, and closes when it closes."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.fixtures.clients import Wire
from tests.fixtures.oracle import RESP3, Pair, Said, said
from tests.protocol.byte_tables import BROKEN, CONNECTION, ODD, OWN, REFUSED, THROUGH

FRAMING = {**BROKEN, **ODD, **REFUSED}
EVERY = {**BROKEN, **ODD, **REFUSED, **CONNECTION, **THROUGH}
GREETING = re.compile(rb"(?s)(%7|\*14)\r\n\$6\r\nserver\r\n.*?modules\r\n\*0\r\n")
OWN_ID = re.compile(rb"(\$2\r\nid\r\n):\d+")


def same(reply: Said) -> Said:
    """As it was, but for a client's number in HELLO: nobody can know the other's."""
    return Said(OWN_ID.sub(rb"\1:0", reply.data), reply.is_closed)


@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize("case", EVERY)
def test_whole_and_byte_by_byte_the_reply_is_the_engines(
    pair: Pair, wire: Callable[..., Wire], case: str, resp: int
) -> None:
    data = (RESP3 if resp == 3 else b"") + EVERY[case]
    expected = same(said(wire(pair.plain.address), [data]))
    assert same(said(wire(pair.primary), [data])) == expected
    if len(data) < 1000:
        pair.empty()
        pieces = [data[at : at + 1] for at in range(len(data))]
        assert same(said(wire(pair.primary), pieces)) == expected


@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize("case", FRAMING)
def test_shards_change_nothing_about_framing_and_refusals(
    pair: Pair, wire: Callable[..., Wire], case: str, resp: int
) -> None:
    data = (RESP3 if resp == 3 else b"") + EVERY[case]
    expected = said(wire(pair.plain.address), [data])
    got = said(wire(pair.sharded), [data])
    assert without_greeting(got) == without_greeting(expected)


@pytest.mark.parametrize("case", OWN)
def test_told_once_then_closed(pair: Pair, wire: Callable[..., Wire], case: str) -> None:
    data, expected = OWN[case]
    assert said(wire(pair.primary), [data]) == Said(expected, is_closed=True)
    if len(data) < 1000:
        pieces = [data[at : at + 1] for at in range(len(data))]
        assert said(wire(pair.primary), pieces) == Said(expected, is_closed=True)


def without_greeting(reply: Said) -> Said:
    """The cluster costume tells another mode in HELLO."""
    return Said(GREETING.sub(b"", reply.data), reply.is_closed)
