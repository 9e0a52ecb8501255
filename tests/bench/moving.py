"""What other clients notice of a move and of a backup: `python -m tests.bench.moving`.

Half of the slots of a shard that is in use go to an empty one: by a move, and by SCAN and MIGRATE of the same
keys between such engines, which is how others do it. Then backups are made. Probes read and write keys that
stay, through the proxy, from processes of their own, one command after another.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path

import redis
from redis.crc import key_slot

from shardproxy.model import Address
from tests.failover.moving.site import MovingSite, open_moving

MOVING = 8192  # slots from there on leave
AT_ONCE = 100  # keys of one MIGRATE
SIZE = 200  # bytes of a value
QUIET = 3.0  # seconds before, for comparison
PROBES = 4


def probe(address: tuple[str, int], seed: int, stop: Event, told: Connection) -> None:
    """Read and write keys that stay until told to stop; tell the microseconds of each command."""
    client = redis.Redis(*address, socket_timeout=60)
    keys = [key for n in range(2000) if key_slot((key := f"stays:{seed}:{n}").encode()) < MOVING]
    value, took, number = "v" * SIZE, list[int](), 0
    client.ping()
    told.send("at work")
    while not stop.is_set():
        key = keys[number % len(keys)]
        number += 1
        began = time.perf_counter_ns()
        if number % 4:
            client.get(key)
        else:
            client.set(key, value)
        took.append((time.perf_counter_ns() - began) // 1000)
    told.send(took)


@contextmanager
def probed(address: Address, what: str) -> Iterator[None]:
    """Say what clients noticed while the block lasted."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    ends, processes = [], []
    for seed in range(PROBES):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=probe, args=((address.host, address.port), seed, stop, theirs))
        process.start()
        ends.append(ours)
        processes.append(process)
    for end in ends:
        end.recv()  # it is at work
    began = time.monotonic()
    try:
        yield
    finally:
        took = time.monotonic() - began
        stop.set()
        found = sorted(micros for end in ends for micros in end.recv())
        for process in processes:
            process.join()
    p50, p99, p999 = (found[len(found) * part // 1000] / 1000 for part in (500, 990, 999))
    rate = len(found) / took
    print(
        f"{what:34} {took:8.2f} s   {rate:8.0f}/s   p50 {p50:6.2f} ms   p99 {p99:7.2f} ms"
        f"   p99.9 {p999:7.2f} ms   max {found[-1] / 1000:8.2f} ms",
        flush=True,
    )


def fill(site: MovingSite, keys: int) -> int:
    """Keys of one size; how many of them leave."""
    client = redis.Redis(site.proxy.host, site.proxy.port, socket_timeout=60)
    names = [f"key:{n}" for n in range(keys)]
    for first in range(0, keys, 1000):
        pipe = client.pipeline(transaction=False)
        for name in names[first : first + 1000]:
            pipe.set(name, os.urandom(SIZE // 2).hex())
        pipe.execute()
    return sum(key_slot(name.encode()) >= MOVING for name in names)


def move(site: MovingSite) -> None:
    result = site.move(timeout=3600, do="move", moves=[f"{MOVING}-16383:1"])
    print(f"{'':34} {result['keys']} keys, requests for them waited {result['pause_ms']['longest']} ms")


def migrate(site: MovingSite) -> None:
    """SCAN and MIGRATE, as `redis-cli --cluster reshard` and its like: engines do all of it themselves."""
    source, target = site.primary(0), site.primary(1)
    asking = redis.Redis(source.address.host, source.address.port, socket_timeout=600)
    cursor, moved = 0, 0
    while True:
        cursor, found = asking.execute_command("SCAN", cursor, "COUNT", AT_ONCE)
        keys = [key for key in found if key_slot(key) >= MOVING]
        if keys:
            asking.migrate(target.address.host, target.address.port, keys, 0, 60_000)
            moved += len(keys)
        if cursor == 0:
            break
    print(f"{'':34} {moved} keys")


def back_up(site: MovingSite, fence: bool) -> None:
    wants = {"name": f"bench-{'fenced' if fence else 'loose'}", "fence": fence}
    number = str(site.ask("/api/jobs/start", kind="backup", wants=wants)["job"]["id"])
    job = site.wait_over(number, timeout=3600)
    assert job["state"] == "done", job


def shown(keys: int, what: str, does: Callable[[MovingSite], None]) -> None:
    """One of them, on a site of its own."""
    with open_moving(shards=2, empty=1) as site:
        leaving = fill(site, keys)
        print(f"{what}: {keys} keys of {SIZE} bytes, {leaving} of them in the slots that leave")
        with probed(site.proxy.address(), "before"):
            time.sleep(QUIET)
        with probed(site.proxy.address(), what):
            does(site)


def backed_up(keys: int) -> None:
    with tempfile.TemporaryDirectory() as place, backing_up(Path(place)) as site:
        fill(site, keys)
        print(f"backup: {keys} keys of {SIZE} bytes")
        with probed(site.proxy.address(), "before"):
            time.sleep(QUIET)
        for fence, what in ((True, "backup, all shards at one moment"), (False, "backup, each by itself")):
            with probed(site.proxy.address(), what):
                back_up(site, fence)


def backing_up(place: Path) -> AbstractContextManager[MovingSite]:
    kept = {"to": str(place / "backups"), "spool": str(place)}
    return open_moving(shards=2, empty=0, backups=kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=500_000)
    parser.add_argument("--only", choices=("move", "migrate", "backup"))
    choices = parser.parse_args()
    if choices.only in (None, "move"):
        shown(choices.keys, "move", move)
    if choices.only in (None, "migrate"):
        shown(choices.keys, "SCAN and MIGRATE", migrate)
    if choices.only in (None, "backup"):
        backed_up(choices.keys)


if __name__ == "__main__":
    main()
