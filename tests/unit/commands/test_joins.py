"""Replies of all shards to one command make one, which does not hide that only some have executed it."""

from __future__ import annotations

import pytest

from shardproxy.commands.call import CommandError
from shardproxy.commands.joins import all_alike
from shardproxy.commands.shards import Answer
from shardproxy.model import Address, Node, Shard
from shardproxy.wire.reply import Failure, Raw


def shard(number: int, **fields: object) -> Shard:
    return Shard(number, (), Node(Address("127.0.0.1", 7101 + number)), number=number, **fields)  # type: ignore[arg-type]


def done(number: int) -> Answer:
    return Answer(shard(number), b"OK", b"+OK\r\n")


def refused(number: int) -> Answer:
    return Answer(shard(number), failure=Failure("MISCONF disk"))


def lost(number: int) -> Answer:
    return Answer(shard(number), why_none="node x: no reply in 5 s", is_doubtful=True)


def unreached(number: int) -> Answer:
    return Answer(shard(number), why_none="node x: refused")


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ([done(0), done(1)], None),
        ([done(0), refused(1)], "ERR INDOUBT executed by 1 of 2 shards: MISCONF disk"),
        ([refused(0), done(1), done(2)], "ERR INDOUBT executed by 2 of 3 shards: MISCONF disk"),
        (
            [done(0), unreached(1)],
            "ERR INDOUBT executed by 1 of 2 shards: ERR shard 1: node x: refused",
        ),
        (
            [done(0), lost(1), refused(2)],
            "ERR INDOUBT executed by 1 of 3 shards, perhaps by 1 more: ERR shard 1: node x: no reply in 5 s",
        ),
        (
            [lost(0)],
            "ERR INDOUBT executed by 0 of 1 shards, perhaps by 1 more: ERR shard 0: node x: no reply in 5 s",
        ),
        ([refused(0), refused(1)], "MISCONF disk"),
        ([unreached(0), refused(1)], "ERR shard 0: node x: refused"),
        ([done(0), refused(0)], "ERR INDOUBT executed by 1 of 2 nodes: MISCONF disk"),
    ],
)
def test_what_some_shards_have_executed_is_in_doubt(answers: list[Answer], error: str | None) -> None:
    if error is None:
        assert all_alike(answers) == Raw(b"+OK\r\n")
        return
    with pytest.raises(CommandError) as raised:
        all_alike(answers)
    assert str(raised.value) == error


def test_a_shard_that_nobody_serves_says_why() -> None:
    foreign = Answer(shard(0, why_not="it is of a Redis Cluster", is_refused=True), why_none="no primary")
    assert foreign.error == "ERR shard 0 is not served: it is of a Redis Cluster"
    held = Shard(0, (), None, number=0, why_not="nobody has its data")
    assert Answer(held, why_none="x").error == "TRYAGAIN shard 0: nobody has its data, not executed there"
    assert Answer(Shard(0, (), None, number=0), why_none="x").error == (
        "TRYAGAIN shard 0 failing over, not executed there"
    )
