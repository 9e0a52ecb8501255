"""How long writes wait when a primary is killed, frozen or cut off, and what applications see of it.

    python -m tests.failover.measure --kills 20 --freezes 20 --cuts 20 --switchovers 20 --restarts 200

Plain redis-py without retries; half of the clients keep their connection, half open one for each command.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence

from shardproxy.fleet import RedisNode
from tests.failover.load import connect, load
from tests.failover.network import Places, own_network
from tests.failover.site import Site, open_site
from tests.fixtures.proxy import wait_until

SHARDS, REPLICAS = 3, 1
SETTLE = 0.5  # seconds of load before each fault
FREEZE = 10.0  # seconds
HIATUS = (0.001, 0.05)  # seconds from the end of a primary to its start, empty


class Result:
    """All rounds of one fault."""

    def __init__(self) -> None:
        self.writable: list[float] = []
        self.longest: list[float] = []
        self.errors: Counter[str] = Counter()
        self.writes = 0
        self.faults: list[str] = []


def measure(
    site: Site, rounds: int, fault: Callable[[RedisNode], float], mend: Callable[[RedisNode], None]
) -> Result:
    """`fault` returns since when it holds."""
    result = Result()
    shards = len(site.fleet.shards)
    for number in range(rounds):
        shard = number % shards
        site.wait_whole(shard)
        site.post("/api/acknowledge", shard=shard)  # of the last one: the next need not wait
        node = site.primary(shard)
        with load(site.proxy.address(), shard, shards) as ledger:
            time.sleep(SETTLE)
            began = fault(node)
            wait_until(lambda: ledger.first_after(began) is not None, "writes go on", timeout=30.0)  # noqa: B023
            mend(node)
            time.sleep(SETTLE)
        first = ledger.first_after(began)
        assert first is not None
        result.writable.append(first)
        result.longest.append(ledger.longest_from(began))
        result.errors += ledger.errors
        result.writes += len(ledger.writes)
        result.faults += ledger.check(connect(site.proxy.address()))
    return result


def measure_switchovers(site: Site, rounds: int) -> Result:
    result = Result()
    with load(site.proxy.address(), 0, SHARDS) as ledger:
        for _ in range(rounds):
            site.wait_whole()
            began = time.monotonic()
            why_not = site.post("/api/switchover", shard=0)
            assert why_not is None, why_not
            wait_until(lambda: ledger.first_after(began) is not None, "writes go on")  # noqa: B023
            first = ledger.first_after(began)
            assert first is not None
            result.writable.append(first)
        time.sleep(SETTLE)
    result.longest.append(ledger.longest_from(0.0))
    result.errors += ledger.errors
    result.writes = len(ledger.writes)
    result.faults = ledger.check(connect(site.proxy.address()))
    return result


def kill(node: RedisNode) -> float:
    began = time.monotonic()
    node.kill()
    return began


def freeze(node: RedisNode) -> float:
    began = time.monotonic()
    node.freeze()
    return began


def restart(node: RedisNode) -> float:
    """Killed, and back as an empty primary before anybody can have noticed."""
    began = kill(node)
    time.sleep(random.uniform(*HIATUS))
    node.is_managed = False  # as what supervises it would start it, which knows nothing of us
    node.begin()
    return began


def mend_restarted(node: RedisNode) -> None:
    node.start()  # wait for it


def mend_killed(node: RedisNode) -> None:
    node.start()


def mend_frozen(node: RedisNode) -> None:
    time.sleep(FREEZE)
    node.thaw()


def measure_cuts(rounds: int, wait: int) -> int:
    places = Places()
    with open_site(SHARDS, max(REPLICAS, wait), launch=places.launch, writes={"wait": wait}) as site:

        def cut(node: RedisNode) -> float:
            shard = next(n for n in range(SHARDS) if site.primary(n) is node)
            places.cut_from_all(node, site.replicas(shard))
            return time.monotonic()

        def mend(node: RedisNode) -> None:
            time.sleep(FREEZE)
            places.mend()

        result = measure(site, rounds, cut, mend)
    report(f"cut off for {FREEZE:g} s", result)
    return len(result.faults)


def quantile(values: Sequence[float], part: float) -> float:
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)]


def report(what: str, result: Result) -> None:
    times = [f"{quantile(result.writable, part):.2f}" for part in (0.5, 1.0)]
    longest = f"{max(result.longest):.2f}"
    errors = ", ".join(f"{count} {kind}" for kind, count in sorted(result.errors.items())) or "none"
    print(
        f"{what}, {len(result.writable)} rounds: writable again after p50 {times[0]} s, max {times[1]} s;"
        f" longest write {longest} s; {result.writes} writes, errors: {errors};"
        f" lost, duplicate or reordered: {len(result.faults)}",
        flush=True,
    )
    for fault in result.faults:
        print(f"  {fault}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--freezes", type=int, default=20)
    parser.add_argument("--cuts", type=int, default=0, help="silently, from everybody; needs root and nft")
    parser.add_argument("--switchovers", type=int, default=0)
    parser.add_argument(
        "--restarts", type=int, default=0, help="killed, and back empty within 50 ms; one shard of two nodes"
    )
    parser.add_argument("--wait", type=int, default=0, help="replicas that must have a write")
    chosen = parser.parse_args()
    bad = 0
    if chosen.cuts:
        with own_network():
            bad += measure_cuts(chosen.cuts, chosen.wait)
    if chosen.restarts:
        with open_site(1, max(REPLICAS, chosen.wait), writes={"wait": chosen.wait}) as site:
            result = measure(site, chosen.restarts, restart, mend_restarted)
        report("killed and back empty within 50 ms", result)
        bad += len(result.faults)
    if not chosen.switchovers + chosen.kills + chosen.freezes:
        return 1 if bad else 0
    with open_site(SHARDS, max(REPLICAS, chosen.wait), writes={"wait": chosen.wait}) as site:
        if chosen.switchovers:
            result = measure_switchovers(site, chosen.switchovers)
            report("switched over", result)
            bad += len(result.faults)
        for what, rounds, fault, mend in (
            ("killed", chosen.kills, kill, mend_killed),
            (f"frozen for {FREEZE:g} s", chosen.freezes, freeze, mend_frozen),
        ):
            if rounds:
                result = measure(site, rounds, fault, mend)
                report(what, result)
                bad += len(result.faults)
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
