"""What a replica's statement proves about its primary."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shardproxy.health.history import History, history_observe, history_start
from shardproxy.health.outcome import Outcome, ProbeResult
from shardproxy.health.witness import Whom, Witness, replica_witness
from shardproxy.model import Address
from shardproxy.model.replication import DEAD_END, Lineage, Replication, Role, Server

ME = Address("r", 7002)
P = Address("p", 7001)
UP = Replication(Role.REPLICA, Lineage("a" * 40), offset=100, follows=P, is_link_up=True, last_io=0)


def heard(replica: History, primary: History, now: float) -> Witness | None:
    return replica_witness(ME, Whom(P, {P: primary, ME: replica}), now)


def history_of_known() -> History:
    return replace(history_start(0.0), server=Server("2"))


def primary(ping_period: float, heard_at: float) -> History:
    return replace(history_start(0.0), ping_period=ping_period, alive_at=heard_at)


def history(*statements: tuple[float, Replication]) -> History:
    told = history_of_known()
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
    witness = heard(history(*statements), primary(1.0, now), now)
    assert (witness.hears if witness else None) is hears


def test_rare_pings_make_a_replica_slow_to_notice() -> None:
    still = history((1.0, UP), (5.0, replace(UP, last_io=4)))
    assert heard(still, primary(10.0, 5.1), 5.1).hears  # type: ignore[union-attr]
    assert not heard(still, primary(1.0, 5.1), 5.1).hears  # type: ignore[union-attr]


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
    assert (heard(down, silent, 10.0) is not None) is is_witness


B = Address("b", 7003)
OTHER = Lineage("b" * 40)


@pytest.mark.parametrize(
    ("follows", "lineage", "peers", "is_witness"),
    [
        (P, UP.lineage, {}, True),
        (P, OTHER, {}, True),  # its name is enough
        (B, UP.lineage, {}, False),  # another member, of the same history as after a switchover
        (Address("10.0.0.3", 7003), UP.lineage, {B: "10.0.0.3"}, False),  # the same, by its IP address
        (Address("10.0.0.1", 7001), UP.lineage, {P: "10.0.0.1", B: "10.0.0.3"}, True),
        (Address("10.0.0.1", 7001), UP.lineage, {}, True),  # an unknown name of the same history
        (Address("elsewhere", 6379), OTHER, {}, False),  # somebody else's replica by now
        (Address("elsewhere", 6379), Lineage("a" * 40), {}, True),
    ],
)
def test_a_replica_tells_of_the_primary_it_follows(
    follows: Address, lineage: Lineage, peers: dict[Address, str], is_witness: bool
) -> None:
    said = replace(UP, follows=follows, lineage=lineage)
    known = Replication(Role.PRIMARY, UP.lineage, offset=100)
    histories = {
        P: replace(primary(1.0, 1.0), replication=known, peer=peers.get(P, "")),
        ME: history((1.0, said)),
        B: replace(history_start(0.0), peer=peers.get(B, "")),
    }
    assert (replica_witness(ME, Whom(P, histories), 1.1) is not None) is is_witness


def test_what_a_primary_never_heard_of_is_called_is_on_record() -> None:
    said = replace(UP, follows=Address("elsewhere", 6379))
    histories = {P: history_start(0.0), ME: history((1.0, said))}
    assert replica_witness(ME, Whom(P, histories, UP.lineage), 1.1) is not None
    assert replica_witness(ME, Whom(P, histories, OTHER), 1.1) is None
    assert replica_witness(ME, Whom(P, histories), 1.1) is not None  # nothing tells them apart


@pytest.mark.parametrize(
    ("replica_says", "can_write"),
    [
        ([(1.0, Outcome.PONG)], True),
        ([(1.0, Outcome.PONG), (1.2, Outcome.PONG)], True),
        ([(1.0, Outcome.MISCONF)], False),
        (
            [(1.0, Outcome.MISCONF), (1.2, Outcome.PONG)],
            False,
        ),  # a shared disk was freed; ask the primary again
        ([(1.0, Outcome.MISCONF), (1.05, Outcome.PONG)], True),
    ],
)
def test_who_can_write_while_the_primary_cannot(
    replica_says: list[tuple[float, Outcome]], can_write: bool
) -> None:
    full = history_observe(primary(1.0, 1.0), ProbeResult(1.1, 1.1, Outcome.MISCONF))
    replica = history_of_known()
    for at, outcome in replica_says:
        replica = history_observe(replica, ProbeResult(at, at, outcome, replication=UP))
    witness = heard(replica, full, 1.25)
    assert witness is not None
    assert witness.can_write is can_write
