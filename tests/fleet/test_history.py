"""The checks themselves: each is red where its invariant is broken, on made-up histories."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shardproxy.model import Address
from shardproxy.model.replication import ShardKey
from shardproxy.store.record import ShardRecord, ShardState
from tests.failover.load import Ledger, Write
from tests.fleet.history import (
    History,
    Served,
    Told,
    why_late_acks,
    why_moved,
    why_spoken,
    why_wrong,
)

A, B, C = (Address("127.0.0.1", port) for port in (1, 2, 3))
SHARDS = {0: [1, 2, 3]}
KEY = ShardKey("main", 0)


def record(epoch: int, state: ShardState, target: Address | None = None) -> ShardRecord:
    primary = target if state is ShardState.OK else None
    return ShardRecord(KEY, epoch, state, primary, nodes=(A, B, C), target=target)


def promoted(at: float, node: Address, sender: str = "127.0.2.1") -> Told:
    return Told(at, str(node), node.port, None, sender)


FAILOVER = (
    record(2, ShardState.FENCING),
    record(2, ShardState.PROMOTING, B),
    record(2, ShardState.OK, B),
)
SERVES = (Served(1.0, "p0", 0, 1, "ok"), Served(2.0, "p0", 0, 2, "ok"), Served(2.0, "p1", 0, 2, "ok"))
SOUND = History((promoted(2.0, B),), SERVES, FAILOVER)


def test_a_failover_is_nothing_to_complain_of() -> None:
    assert why_wrong(SOUND, SHARDS) == []


def test_a_promotion_that_is_done_again_is_nothing_to_complain_of() -> None:
    assert why_wrong(replace(SOUND, told=(promoted(2.0, B), promoted(2.5, B, "127.0.2.2"))), SHARDS) == []


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        (replace(SOUND, told=(promoted(2.0, B), promoted(2.1, C))), "I1"),
        (replace(SOUND, told=(promoted(2.0, C),)), "I1"),
        (replace(SOUND, records=(*FAILOVER, record(2, ShardState.PROMOTING, C))), "I1"),
        (replace(SOUND, records=(*FAILOVER, record(1, ShardState.OK, B))), "I3"),
        (replace(SOUND, served=(*SERVES, Served(3.0, "p1", 0, 1, "ok"))), "I3"),
    ],
)
def test_what_is_broken_is_named(broken: History, what: str) -> None:
    assert any(said.startswith(what) for said in why_wrong(broken, SHARDS))


def test_an_ack_after_the_promotion_that_is_lost_is_an_older_epochs() -> None:
    before, after = (Write(began, began + 0.1, None, "k", number) for number, began in ((1, 1.9), (2, 2.5)))
    assert why_late_acks([before], SOUND.promotions([2])) == []
    (said,) = why_late_acks([before, after], SOUND.promotions([2]))
    assert said.startswith("I2: 1 writes")


def test_a_change_while_the_store_is_down_is_named() -> None:
    assert why_moved(SOUND, 5.0, 9.0) == []
    assert len(why_moved(SOUND, 1.5, 9.0)) == 2  # the promotion, and p0 that went on


def test_a_word_of_one_that_lost_its_leadership_is_named() -> None:
    assert why_spoken(SOUND, "127.0.2.1", 3.0, 9.0) == []
    assert why_spoken(SOUND, "127.0.2.2", 1.0, 9.0) == []
    assert len(why_spoken(SOUND, "127.0.2.1", 1.0, 9.0)) == 1


def test_a_ledger_finds_what_is_lost_done_twice_out_of_order_or_there_though_refused() -> None:
    ledger = Ledger([Write(0, 1, None, "k", n) for n in (0, 1, 2)], acknowledged={"k": [0, 1, 2]})
    assert ledger.why_lossy({"k": [0, 1, 2]}) + ledger.why_unsound({"k": [0, 1, 2]}) == []
    assert [write.number for write in ledger.lost({"k": [0, 2]})] == [1]
    assert len(ledger.why_lossy({"k": [0, 2]})) == 1
    for found in ([0, 1, 1, 2], [0, 2, 1], [0, 1, 2, 3]):
        assert len(ledger.why_unsound({"k": found})) == 1
