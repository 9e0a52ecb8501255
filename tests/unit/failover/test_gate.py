"""What may be made a replica of what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shardproxy.failover.gate import Seen, why_not_follow
from shardproxy.model import Address
from shardproxy.model.replication import Lineage, Replication
from shardproxy.store.record import REMEMBERED, ShardRecord
from tests.unit.failover.make import A, B, C, X, Y, frozen, primary, record, replica

BRANCHED = Lineage("new", X.replid, 501)  # promoted at 500 of X
OWN = Lineage("z", X.replid, 400)
RECORD = replace(record(A, lineage=BRANCHED, joined=(A, B)), run_id="a", processes=((B, "b"),))
PRIMARY = Seen(A, "a", primary(BRANCHED, 600), 9)
EMPTY = Seen(A, "a", primary(BRANCHED, 600), 0)
REPLACED = replace(RECORD, replaced=((B, "b"),))


def node(replication: Replication, keys: int = 9, *, address: Address = B, run_id: str = "b") -> Seen:
    return Seen(address, run_id, replication, keys)


CASES: list[tuple[str, Seen, Seen, ShardRecord, str | None]] = [
    ("a replica that is a bit behind", node(frozen(BRANCHED, 550)), PRIMARY, RECORD, None),
    ("one from before the promotion", node(frozen(X, 500)), PRIMARY, RECORD, None),
    ("a member that has more", node(frozen(X, 520)), PRIMARY, RECORD, None),  # given up by the election
    ("an empty one", node(primary(Y), 0, address=C), PRIMARY, RECORD, None),
    ("an empty one, and so is the primary", node(primary(Y), 0, address=C), EMPTY, RECORD, None),
    ("data of its own", node(primary(Y), address=C), PRIMARY, RECORD, "FLUSHALL"),
    ("the same, as a replica", node(frozen(Y), address=C), PRIMARY, RECORD, "FLUSHALL"),
    ("a part of the history, though it never joined", node(frozen(X, 400), address=C), PRIMARY, RECORD, None),
    ("I9: the primary is empty", node(frozen(Y)), EMPTY, RECORD, "and 10.0.0.1:7001 none"),
    ("all of it was deleted on the primary", node(frozen(BRANCHED, 600)), EMPTY, RECORD, None),
    ("one engine, two names", node(primary(BRANCHED), run_id="a"), PRIMARY, RECORD, "the same process"),
    ("the primary is none", node(frozen()), Seen(A, "a", replica(B), 9), RECORD, "says it is a replica"),
    ("the primary restarted", node(frozen()), replace(PRIMARY, run_id="a2"), RECORD, "restarted"),
    ("an operator's promotion", node(primary(Y)), PRIMARY, RECORD, "by somebody else"),
    ("a branch of its own", node(primary(Lineage("z", X.replid, 400), 450)), PRIMARY, RECORD, "somebody"),
    ("the same, frozen since", node(frozen(OWN, 450)), PRIMARY, RECORD, "somebody"),
    ("a replica of some failovers before", node(frozen(Lineage("z", "y", 400), 450)), PRIMARY, RECORD, None),
    (
        "promoted by hand, and given up",
        node(frozen(Lineage("z", X.replid, 400), 450)),
        PRIMARY,
        REPLACED,
        None,
    ),
    ("the primary of before", node(primary(X, 520)), PRIMARY, REPLACED, None),
    ("the same, as another process", node(primary(Y), run_id="b2"), PRIMARY, RECORD, None),
]


def test_what_an_epoch_promoted_in_vain_has_is_given_up() -> None:
    """It was told while nobody could hear it, and has been a primary since that no proxy ever served."""
    in_vain = record(joined=(A, B, C)).fenced().promoting(B)
    settled = in_vain.fenced().promoting(C).settled(C, BRANCHED, "c")
    woken, to = node(primary(Y), run_id="r"), Seen(C, "c", primary(BRANCHED, 600), 9)
    assert why_not_follow(woken, to, settled) is None
    assert "somebody" in (why_not_follow(woken, to, replace(settled, replaced=())) or "")
    assert settled.with_process(B, "r").replaced == ((A, "r"),)


@pytest.mark.parametrize(("name", "seen", "to", "shard", "why"), CASES, ids=[case[0] for case in CASES])
def test_what_may_follow_what(name: str, seen: Seen, to: Seen, shard: ShardRecord, why: str | None) -> None:
    reason = why_not_follow(seen, to, shard)
    assert reason is None if why is None else why in (reason or "")


def test_names_that_the_dataset_was_served_by_are_remembered_and_those_of_relays_are_not() -> None:
    shard = replace(record(A, lineage=X), run_id="a")
    relayed = replace(shard.fenced().promoting(B), lineage=BRANCHED).fenced()
    settled = relayed.promoting(C).settled(C, Lineage("newest", "new", 700), "c")
    assert settled.histories == (X.replid,)
    assert settled.is_own_name("new")
    assert not settled.is_own_name("")
    for number in range(REMEMBERED + 5):
        settled = settled.with_lineage(Lineage(f"name {number}"))
    assert len(settled.histories) == REMEMBERED
    assert settled.is_own_name(f"name {number - 1}")
