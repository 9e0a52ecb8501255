"""When a leader lets another proxy lead: it would do better, and not again and again."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio.testing

from shardproxy.failover.controller import ABSTAIN
from shardproxy.failover.interfaces import Objection
from shardproxy.failover.shard.task import _give_way
from shardproxy.failover.shard.tended import OUTVOTED, OutvotedError, Tended
from shardproxy.model import Address
from shardproxy.model.health import NodeHealth, NodeState
from tests.unit.failover.make import A, B, C, health, primary, record, replica, setup

DENIED = health(None, NodeState.DENIED)
REACHED = Objection("2 of 3 proxies still reach it", is_outvoted=True)
EXPLAINED = Objection("another knows why", is_outvoted=False)


@dataclass
class Others:
    said: Objection | None

    def objection(self, key: object, primary: object) -> Objection | None:
        return self.said

    def why_down(self, key: object, primary: object) -> str | None:
        return self.said.why if self.said is not None else None


def leading(said: Objection | None, *, stays_until: float = 0.0) -> Tended:
    limits = SimpleNamespace(at_once=SimpleNamespace(borrowed_tokens=0))
    shared = SimpleNamespace(witnesses=Others(said), limits=limits, stays_until=stays_until)
    return Tended(cast("Any", shared), setup(A, B, C), 0.0)


def gives_way(shard: Tended, seen: NodeHealth) -> bool:
    found = shard._objection(record(), {A: seen})
    try:
        _give_way(shard, found.why if found is not None else None)
    except OutvotedError:
        return True
    return False


@pytest.mark.parametrize(
    ("said", "wanted"),
    [(REACHED, True), (EXPLAINED, False), (None, False)],
    ids=["others reach it", "another knows why it is silent", "they are refused too"],
)
async def test_who_gets_no_answer_lets_those_lead_who_do(
    said: Objection | None, wanted: bool, autojump_clock: trio.testing.MockClock
) -> None:
    shard = leading(said)
    assert not gives_way(shard, DENIED)
    await trio.sleep(OUTVOTED)
    assert gives_way(shard, DENIED) == wanted


async def test_who_gave_way_in_vain_stays_for_a_while(autojump_clock: trio.testing.MockClock) -> None:
    shard = leading(REACHED, stays_until=trio.current_time() + ABSTAIN)
    assert not gives_way(shard, DENIED)
    await trio.sleep(ABSTAIN - 0.1)
    assert not gives_way(shard, DENIED)
    await trio.sleep(0.2)
    assert gives_way(shard, DENIED)


@pytest.mark.parametrize(
    ("voters", "replicas", "wanted"),
    [((B, C), {}, True), ((B, C), {B: health(replica())}, False), ((), {}, False)],
    ids=["it has no replica left", "a replica follows it", "it had none"],
)
async def test_who_alone_reaches_a_primary_lets_those_lead_who_find_it_down(
    voters: tuple[Address, ...],
    replicas: dict[Address, NodeHealth],
    wanted: bool,
    autojump_clock: trio.testing.MockClock,
) -> None:
    shard, shown = leading(REACHED), record(voters=voters)
    healths = {A: health(primary()), **replicas}
    shard._objection(shown, healths)
    await trio.sleep(OUTVOTED)
    shard._objection(shown, healths)
    assert (shard.outvoted_at is not None) == wanted
