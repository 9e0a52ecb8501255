"""Sentinels' replies as values."""

from __future__ import annotations

import pytest

from shardproxy.model import Address
from shardproxy.topology.sources.sentinel.answers import Answer, AnswerError, ReplicaSaid, answer_read
from shardproxy.wire.reply import Failure, NullArray, Reply

MASTER = [b"name", b"main", b"ip", b"10.0.0.1", b"port", b"6379", b"flags", b"master", b"config-epoch", b"7"]
REPLICA = [b"name", b"x", b"ip", b"10.0.0.2", b"port", b"6379", b"flags", b"slave"]
DOWN = [b"name", b"y", b"ip", b"fd00::3", b"port", b"6379", b"flags", b"s_down,slave,disconnected"]
NAMED = [b"10.0.0.1", b"6379"]


def test_what_it_says_is_read() -> None:
    found = answer_read([NAMED, MASTER, [REPLICA, DOWN]])
    replicas = (
        ReplicaSaid(Address("10.0.0.2", 6379), is_down=False),
        ReplicaSaid(Address("fd00::3", 6379), is_down=True),
    )
    assert found == Answer(Address("10.0.0.1", 6379), 7, replicas)


def test_while_it_replaces_a_primary_the_new_one_is_named_first() -> None:
    flags = [b"flags", b"master,o_down,failover_in_progress", b"config-epoch", b"8"]
    found = answer_read([[b"redis-2", b"6379"], flags, []])
    assert found == Answer(Address("redis-2", 6379), 8, (), is_failing_over=True)


@pytest.mark.parametrize("named", [None, NullArray()])
def test_a_name_that_it_does_not_know_has_no_answer(named: Reply) -> None:
    unknown = Failure("ERR No such master with that name")
    assert answer_read([named, unknown, unknown]) is None


def test_a_replica_whose_name_it_cannot_look_up_is_left_out() -> None:
    nameless = [b"name", b"x", b"ip", b"", b"port", b"6379", b"flags", b"slave"]
    found = answer_read([NAMED, MASTER, [nameless, REPLICA]])
    assert found is not None
    assert [replica.address.host for replica in found.replicas] == ["10.0.0.2"]


@pytest.mark.parametrize(
    "replies",
    [
        [Failure("NOAUTH Authentication required."), MASTER, []],
        [NAMED, Failure("NOPERM no"), []],
        [NAMED, MASTER, Failure("NOPERM no")],
        [b"text", MASTER, []],
        [[b"10.0.0.1", b"many"], MASTER, []],
        [[b"10.0.0.1", b"0"], MASTER, []],
        [NAMED, [b"flags"], []],
        [NAMED, [b"flags", b"master"], []],
        [NAMED, MASTER, b"text"],
    ],
)
def test_anything_else_is_no_answer(replies: list[Reply]) -> None:
    with pytest.raises(AnswerError):
        answer_read(replies)
