"""Which node is the primary of a shard that nobody has a record of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shardproxy.failover.adoption import Adopt, Build, Conflict, NotYet, adopt
from shardproxy.model import Address
from shardproxy.model.health import Cause, NodeHealth, NodeState, Verdict
from tests.unit.failover.make import A, B, C, X, Y, down, frozen, health, primary, replica, setup

P, R = health(primary()), health(replica())
EMPTY = health(primary(Y))
LEFT = down(Cause.DEAD)
UNKNOWN = health(None, NodeState.UNKNOWN)
DENIED = replace(UNKNOWN, verdict=Verdict(NodeState.DENIED, "refuses our credentials (WRONGPASS)", 0.0))
UNSURVEYED = replace(R, is_surveyed=False)

Nodes = dict[Address, NodeHealth]

CASES = [
    ("one primary, two replicas", {A: P, B: R, C: R}, True, Adopt, "3 joined"),
    ("the primary is not the first of the config", {A: R, B: P, C: R}, True, Adopt, "3 joined"),
    ("a dead node is no obstacle", {A: P, B: R, C: LEFT}, True, Adopt, "2 joined"),
    (
        "a replica that syncs has not joined yet",
        {A: P, B: health(replica(is_up=False)), C: R},
        True,
        Adopt,
        "2 joined",
    ),
    (
        "a replica of somebody else",
        {A: P, B: health(replica(C, Y)), C: LEFT},
        False,
        Conflict,
        "follows another",
    ),
    ("the same, but ours to build", {A: P, B: health(replica(C, Y)), C: LEFT}, True, Adopt, "1 joined"),
    ("three empty ones", {A: P, B: EMPTY, C: EMPTY}, True, Build, str(A)),
    ("three empty ones that are not ours", {A: P, B: EMPTY, C: EMPTY}, False, Conflict, "all primaries"),
    ("one in use and a new one", {A: EMPTY, B: health(primary()), C: R}, True, Adopt, "2 joined"),
    ("two in use", {A: P, B: R, C: health(primary(Y))}, False, Conflict, "all primaries"),
    (
        "all started safely",
        {A: health(frozen(X, 1)), B: health(frozen(Y, 1)), C: health(frozen(X, 1))},
        True,
        Build,
        str(A),
    ),
    (
        "all lost at once: the newest first",
        {A: health(frozen(X, 5)), B: health(frozen(X, 9)), C: health(frozen(X, 7))},
        True,
        Build,
        str(B),
    ),
    (
        "the newest may be the one that is missing",
        {A: health(frozen()), B: health(frozen()), C: LEFT},
        True,
        NotYet,
        str(C),
    ),
    ("no primary, and not ours to make one", {A: R, B: R, C: R}, False, NotYet, "not managed"),
    ("nobody answers", {A: LEFT, B: LEFT, C: LEFT}, True, NotYet, "no node answers"),
    ("we may not ask", {A: health(None), B: LEFT, C: LEFT}, True, NotYet, "user call INFO"),
    ("we may not log in", {A: LEFT, B: DENIED, C: LEFT}, True, NotYet, f"see node_auth: {B} refuses"),
]


@pytest.mark.parametrize(
    ("name", "nodes", "is_managed", "kind", "word"), CASES, ids=[case[0] for case in CASES]
)
def test_what_is_found(name: str, nodes: Nodes, is_managed: bool, kind: type, word: str) -> None:
    found = adopt(setup(is_managed=is_managed), nodes, is_patient=False)
    assert isinstance(found, kind), found
    text = found.why if isinstance(found, (NotYet, Conflict)) else ""
    if isinstance(found, Adopt):
        text = f"{len(found.joined)} joined"
        assert found.joined[0] == found.primary
        assert nodes[found.primary].replication == primary()
    if isinstance(found, Build):
        text = str(found.candidates[0])
    assert word in text


@pytest.mark.parametrize("silent", [UNKNOWN, UNSURVEYED, None])
def test_silent_nodes_are_waited_for_but_not_for_ever(silent: NodeHealth | None) -> None:
    nodes = {A: P, B: R, **({C: silent} if silent else {})}
    assert isinstance(adopt(setup(), nodes, is_patient=True), NotYet)
    assert isinstance(adopt(setup(), nodes, is_patient=False), Adopt)


def test_two_primaries_with_replicas_are_a_conflict_even_where_replication_is_ours() -> None:
    d = Address("10.0.0.4", 7001)
    nodes = {A: P, B: R, C: health(primary(Y)), d: health(replica(C, Y))}
    found = adopt(setup(A, B, C, d), nodes, is_patient=False)
    assert isinstance(found, Conflict)
    assert "both primaries with replicas" in found.why
