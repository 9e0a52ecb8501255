"""What goes wrong with one shard, the same for all that is measured."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from tests.failover.network import Places
from tests.fleet.arrangement import Arrangement

HIATUS = (0.001, 0.05)  # seconds from the end of a primary to its start, empty
PARTED = 3.0  # seconds without replication before a primary dies

Strike = Callable[[Arrangement, Places | None, ExitStack], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """`strike` makes it so, and leaves what mends it on the stack."""

    name: str
    strike: Strike
    lasts: float  # seconds until it is mended
    needs_network: bool = False


def kill(site: Arrangement, places: Places | None, mend: ExitStack) -> None:
    node = site.primary()
    mend.callback(node.start)
    node.kill()


def freeze(site: Arrangement, places: Places | None, mend: ExitStack) -> None:
    node = site.primary()
    mend.callback(node.thaw)
    node.freeze()


def cut(site: Arrangement, places: Places | None, mend: ExitStack) -> None:
    assert places is not None
    mend.callback(places.mend)
    places.isolate(site.primary())


def part_and_kill(site: Arrangement, places: Places | None, mend: ExitStack) -> None:
    """No replica hears of the last seconds before the primary dies: what only it has is gone."""
    assert places is not None
    node = site.primary()
    mend.callback(node.start)
    mend.callback(places.mend)
    places.cut(node, site.replicas())
    time.sleep(PARTED)
    node.kill()
    places.mend()


def restart_empty(site: Arrangement, places: Places | None, mend: ExitStack) -> None:
    """Killed, and back as an empty primary before anybody can have noticed."""
    node = site.primary()
    mend.callback(node.start)  # waits for it
    node.kill()
    time.sleep(random.uniform(*HIATUS))
    node.is_managed, node.replica_of = False, None  # as what supervises it would start it
    node.begin()


def switch_over(site: Arrangement, places: Places | None, mend: ExitStack) -> None:
    site.switch_over()


FAULTS = {
    fault.name: fault
    for fault in (
        Fault("kill", kill, 5.0),
        Fault("freeze 10 s", freeze, 10.0),
        Fault("cut 10 s", cut, 10.0, needs_network=True),
        Fault("parted 3 s, kill", part_and_kill, 5.0, needs_network=True),
        Fault("empty restart", restart_empty, 3.0),
        Fault("switchover", switch_over, 3.0),
    )
}
