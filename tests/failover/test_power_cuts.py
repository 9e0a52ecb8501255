"""What a power cut of one node, or of a whole shard, takes away, by what the nodes keep on disk.

`make failover ARGS="-k power -s"` prints the table of what was lost.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from shardproxy.fleet import RedisNode
from tests.failover.load import connect, load
from tests.failover.power import Powered, cut, library_build, why_no_cuts
from tests.failover.site import Site, open_site
from tests.fixtures.proxy import wait_until

WHOM = {"primary": 1, "primary and a replica": 2, "all nodes": 3}  # of three nodes
WARM = 1200  # writes before each cut: two seconds of them
BACK_WITHIN = 60.0  # seconds
DECIDED_WITHIN = 15.0  # seconds; who has not decided by then waits for an operator

pytestmark = pytest.mark.skipif(why_no_cuts() is not None, reason=str(why_no_cuts()))


@dataclass
class Outcome:
    """Of some cuts of one kind."""

    acknowledged: int = 0
    lost: int = 0
    bytes: int = 0  # that the disks did not have
    asked: int = 0  # cuts after which an operator had to say which node counts
    faults: list[str] = field(default_factory=list)


@pytest.fixture(scope="module", autouse=True)
def powered(tmp_path_factory: pytest.TempPathFactory) -> None:
    Powered.library = library_build(tmp_path_factory.mktemp("power"))


RESULTS: dict[tuple[str, int, str], Outcome] = {}


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    yield
    print("\n| aof | writes.wait | power cut of | acknowledged | lost | operator asked |")
    print("|" + "---|" * 6)
    for (aof, wait, whom), outcome in sorted(RESULTS.items()):
        print(f"| {aof} | {wait} | {whom} | {outcome.acknowledged} | {outcome.lost} | {outcome.asked} |")


@contextmanager
def durable(aof: str, wait: int) -> Iterator[Site]:
    args = ("--appendonly", "no") if aof == "no" else ("--appendonly", "yes", "--appendfsync", aof)
    with open_site(1, 2, launch=Powered, args=args, writes={"wait": wait}, persistence={"aof": aof}) as site:
        yield site


def play(site: Site, whom: str, rounds: int) -> Outcome:
    """Cut the power under load, and see what is there when it is back."""
    outcome = Outcome()
    with load(site.proxy.address(), 0, 1) as ledger:
        for _ in range(rounds):
            assert site.post("/api/acknowledge", shard=0) is None, "the next failover need not wait"
            ledger.wait_more(WARM, timeout=BACK_WITHIN)
            last, epoch = site.primary(), site.status()["epoch"]
            nodes = [last, *site.replicas()][: WHOM[whom]]
            outcome.bytes += cut(nodes)
            for node in nodes:
                node.begin()
            wait_until(
                lambda: all(node.is_ready() for node in nodes),  # noqa: B023
                "they are back",
                timeout=BACK_WITHIN,
            )
            running = [node for node in site.replicas() if node not in nodes]
            outcome.asked += served_again(site, (running or [last])[0], epoch)
            ledger.wait_more(timeout=BACK_WITHIN)
            wait_until(lambda: site.is_whole(), "it is whole again", timeout=BACK_WITHIN)
    found = ledger.found(connect(site.proxy.address()))
    outcome.acknowledged = sum(len(numbers) for numbers in ledger.acknowledged.values())
    outcome.lost = len(ledger.lost(found))
    outcome.faults = ledger.why_unsound(found)
    return outcome


def served_again(site: Site, best: RedisNode, epoch: int) -> int:
    """Wait until the shard is served; 1 when an operator had to say which node's data counts."""
    deadline = time.monotonic() + DECIDED_WITHIN
    while time.monotonic() < deadline:
        status = site.status()
        if status["epoch"] > epoch and status["state"] == "ok":
            return 0
        time.sleep(0.1)
    assert site.post("/api/promote", shard=0, to=str(best.address)) is None, str(site.status())
    return 1


@pytest.mark.parametrize("wait", [0, 1])
@pytest.mark.parametrize("aof", ["always", "everysec", "no"])
def test_what_a_power_cut_takes_away(aof: str, wait: int, rounds: int) -> None:
    with durable(aof, wait) as site:
        for whom in WHOM:
            outcome = RESULTS[aof, wait, whom] = play(site, whom, rounds)
            assert outcome.faults == []
            if wait and whom == "primary":
                assert outcome.lost == 0, "a replica had it before it was acknowledged"
            if aof == "always" and whom == "all nodes":
                assert outcome.lost == 0, "it was on a disk before it was acknowledged"
            if whom == "all nodes" and not wait:
                assert outcome.asked == 0
