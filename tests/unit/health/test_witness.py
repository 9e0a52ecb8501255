"""What a replica's statement proves about its primary."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shardproxy.health.history import History, history_observe, history_start
from shardproxy.health.outcome import Outcome, ProbeResult
from shardproxy.health.witness import replica_witness
from shardproxy.model import Address
from shardproxy.model.replication import DEAD_END, Lineage, Replication, Role

ME = Address("r", 7002)
UP = Replication(
    Role.REPLICA, Lineage("a" * 40), offset=100, follows=Address("p", 7001), is_link_up=True, last_io=0
)


def primary(ping_period: float, heard_at: float) -> History:
    return replace(history_start(0.0), ping_period=ping_period, alive_at=heard_at)


def history(*statements: tuple[float, Replication]) -> History:
    told = history_start(0.0)
    for at, replication in statements:
        told = history_observe(told, ProbeResult(at, at, Outcome.PONG, replication=replication))
    return told


@pytest.mark.parametrize(
    ("statements", "now", "hears"),
    [
        ([(1.0, UP)], 1.1, True),
        ([(1.0, UP)], 1.6, None),  # too old a statement
        ([(1.0, replace(UP, is_link_up=False, link_down_for=0))], 1.1, False),
        ([(1.0, replace(UP, last_io=2))], 1.1, True),  # proves more than 1 s: pings are 1 s apart
        ([(1.0, replace(UP, last_io=3))], 1.1, False),
        ([(1.0, UP), (2.0, UP), (2.2, UP)], 2.2, False),  # its offset stood still for 1.2 s
        ([(1.0, UP), (2.0, UP), (2.2, replace(UP, offset=114))], 2.2, True),
        ([(1.0, replace(UP, is_link_up=False, is_syncing=True))], 1.1, None),
        ([(1.0, replace(UP, is_link_up=False, follows=DEAD_END))], 1.1, None),  # it was frozen by us
        ([], 1.0, None),
    ],
)
def test_a_replica_hears_its_primary(
    statements: list[tuple[float, Replication]], now: float, hears: bool | None
) -> None:
    witness = replica_witness(ME, history(*statements), primary(1.0, now), now)
    assert (witness.hears if witness else None) is hears


def test_rare_pings_make_a_replica_slow_to_notice() -> None:
    still = history((1.0, UP), (5.0, replace(UP, last_io=4)))
    assert replica_witness(ME, still, primary(10.0, 5.1), 5.1).hears  # type: ignore[union-attr]
    assert not replica_witness(ME, still, primary(1.0, 5.1), 5.1).hears  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("down_for", "silent_for", "refusals", "is_witness"),
    [
        (2, 1.0, 0, True),  # told in whole seconds
        (3, 1.0, 0, False),
        (None, 1.0, 0, False),  # it never was up
        (3, 2.5, 0, True),
        (300, 0.1, 2, True),  # nothing listens there: that needs nobody's word
    ],
)
def test_a_link_that_was_down_before_proves_nothing(
    down_for: int | None, silent_for: float, refusals: int, is_witness: bool
) -> None:
    """A primary in a slow command with a replica that was cut off before is well, and the replica is old."""
    down = history((10.0, replace(UP, is_link_up=False, link_down_for=down_for)))
    silent = replace(primary(1.0, 10.0 - silent_for), refusals=refusals)
    assert (replica_witness(ME, down, silent, 10.0) is not None) is is_witness
