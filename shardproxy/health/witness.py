"""What a replica says of its primary. Pure.

A replica's `master_last_io_seconds_ago` is in whole seconds, so `n` proves a silence of more than `n - 1`.
An offset that we saw stand still proves as much silence as we watched it. Either must be longer than the
primary's pings to its replicas are apart, or a healthy idle primary would look silent.
"""

from __future__ import annotations

from dataclasses import dataclass

from shardproxy.health.history import History
from shardproxy.health.outcome import Outcome
from shardproxy.model import Address

FRESH = 0.5  # seconds; an older statement is not heard
PING_MARGIN = 0.1  # seconds a ping may be late


@dataclass(frozen=True, slots=True)
class Witness:
    """One that can tell whether a primary lives: a replica of it, or another proxy."""

    name: str
    hears: bool  # the primary, lately
    why: str
    can_write: bool = True  # a replica that could take over where writes fail for want of disk


def replica_witness(
    address: Address, history: History, primary_ping_period: float, now: float
) -> Witness | None:
    """The replica's statement; None when there is none, or it is too old to count."""
    seen, at, since = history.replication, history.replication_at, history.offset_since
    if seen is None or at is None or since is None or now - at > FRESH:
        return None
    if seen.is_syncing or seen.is_frozen:
        return None  # it does not listen to its primary as a replica in sync would
    can_write = history.last is not None and history.last.outcome is Outcome.PONG
    name = f"replica {address}"
    if not seen.is_link_up:
        return Witness(name, hears=False, why="its link is down", can_write=can_write)
    silence = max(at - since, float((seen.last_io or 0) - 1))
    hears = silence <= primary_ping_period + PING_MARGIN
    why = f"nothing heard for {silence:.1f} s" if not hears else f"heard it {seen.last_io or 0} s ago"
    return Witness(name, hears=hears, why=why, can_write=can_write)
