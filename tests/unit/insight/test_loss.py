"""Who would be promoted: as the election decides it, of replicas as they were heard last."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shardproxy.insight.loss import loss_of_primary
from shardproxy.model import Address
from shardproxy.model.health import Cause, NodeHealth, NodeState
from tests.unit.failover.make import A, B, C, Y, down, health, primary, record, replica, setup

RECORD = record(nodes=(A, B, C), joined=(A, B, C))
SETUP = setup(A, B, C)


def loss(healths: dict[Address, NodeHealth | None], **changes: Any) -> tuple[Address | None, str]:
    found = loss_of_primary(
        changes.pop("of", RECORD),
        changes.pop("configured", SETUP),
        {A: health(primary()), **healths},
        zone=None,
        **changes,
    )
    return found.promoted, " ".join([found.why, *(f"{node}: {why}" for node, why in found.refused)])


def test_the_replica_with_most_data_would_be_promoted() -> None:
    promoted, why = loss({B: health(replica(offset=900)), C: health(replica(offset=1000))})
    assert promoted == C
    assert "most of the data" in why


CASES: dict[str, tuple[dict[Address, NodeHealth | None], dict[str, Any], str]] = {
    "nobody answers": ({B: None, C: down(Cause.DEAD, replica())}, {}, "no replica answers"),
    "another history": ({B: health(replica(A, Y))}, {}, "another history"),
    "syncing": ({B: health(replica(is_up=False, is_syncing=True))}, {}, "syncing"),
    "its disk is full": ({B: health(replica(), NodeState.UNWRITABLE)}, {}, "cannot save to disk"),
    "priority 0": ({B: health(replace(replica(), priority=0))}, {}, "its priority is 0"),
    "paused": ({B: health(replica())}, {"is_paused": True}, "paused"),
    "not automatic": (
        {B: health(replica())},
        {"configured": replace(SETUP, is_automatic=False)},
        "not automatic",
    ),
    "Sentinel decides": ({}, {"configured": replace(SETUP, decider="sentinel")}, "sentinel decides"),
    "alone": ({}, {"of": record(nodes=(A,), joined=(A,))}, "no replica"),
    "not on record": ({}, {"of": None}, "not known yet"),
    "under way": ({}, {"of": RECORD.fenced()}, "no primary now"),
}


@pytest.mark.parametrize(("healths", "changes", "why"), CASES.values(), ids=CASES.keys())
def test_why_nobody_would_be_promoted(
    healths: dict[Address, NodeHealth | None], changes: dict[str, Any], why: str
) -> None:
    promoted, said = loss(healths, **changes)
    assert promoted is None
    assert why in said
