"""What reading and restoring RDB files costs: `python -m tests.bench.restore`.

A source is filled with keys of several kinds, its RDB taken as a snapshot, read by itself, and restored into
other engines. Seconds of CPU are this process's own, and the targets' as they tell them. For comparison: the
same file loaded by an engine at its start.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from shardproxy.fleet import Fleet, RedisNode
from shardproxy.model import SlotRange
from shardproxy.replication.interface import End, LoadPlan, SnapshotPhase, Target
from shardproxy.replication.loader import loader
from shardproxy.replication.rdb import rdb_read
from shardproxy.replication.snapshot import snapshot
from tests.fixtures.contents import pipeline

SLOTS = 16384


def commands(keys: int, mixed: bool) -> Iterator[tuple[object, ...]]:
    """Small keys: strings of 200 bytes; mixed with hashes, lists and sets of a few members where wanted."""
    for n in range(keys):
        kind = n % 4 if mixed else 0
        text = os.urandom(100).hex()
        if kind == 0:
            yield ("SET", f"string:{n}", text)
        elif kind == 1:
            yield ("HSET", f"hash:{n}", *itertools.chain(*((f"field{i}", text[:24]) for i in range(8))))
        elif kind == 2:
            yield ("RPUSH", f"list:{n}", *(text[i : i + 20] for i in range(10)))
        else:
            yield ("SADD", f"set:{n}", *(text[i : i + 12] for i in range(15)))


class Cost:
    """Wall and CPU seconds of a block."""

    wall = own = theirs = 0.0


@contextmanager
def measured(nodes: list[RedisNode]) -> Iterator[Cost]:
    cost, before, asked, begun = Cost(), own_cpu(), sum(map(cpu_of, nodes)), time.monotonic()
    yield cost
    cost.wall, cost.own = time.monotonic() - begun, own_cpu() - before
    cost.theirs = sum(map(cpu_of, nodes)) - asked


def own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def cpu_of(node: RedisNode) -> float:
    info = node.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


def say(what: str, cost: Cost, size: int, keys: int) -> None:
    rates = f"{size / cost.wall / 1e6:8.0f} MB/s {keys / cost.wall:10.0f} keys/s"
    print(f"{what:44} {cost.wall:7.2f} s {rates}   CPU {cost.own:6.2f} s + {cost.theirs:6.2f} s", flush=True)


async def run(keys: int, shards: int, mixed: bool) -> None:
    with tempfile.TemporaryDirectory() as directory, Fleet(shards=1 + shards, replicas=0) as fleet:
        nodes = [shard.primary for shard in fleet.shards if isinstance(shard.primary, RedisNode)]
        source, *targets = nodes
        written = commands(keys, mixed)
        while batch := list(itertools.islice(written, 10_000)):
            pipeline(source, batch)
        path = Path(directory) / "source.rdb"
        with measured([source]) as cost:
            async with snapshot(End(source.address), path) as one:
                await one.wait(SnapshotPhase.DONE)
        size = path.stat().st_size
        print(f"{keys} keys, {size / 1e6:.0f} MB, {shards} targets; CPU: this process + the engines")
        say("snapshot, verified while written", cost, size, keys)
        with measured([]) as cost:
            await rdb_read(path)
        say("read: crc64, sha256, keys per slot", cost, size, keys)
        bounds = [n * SLOTS // shards for n in range(shards + 1)]
        plan = LoadPlan(
            (path,),
            tuple(
                Target((SlotRange(first, end - 1),), End(node.address))
                for (first, end), node in zip(itertools.pairwise(bounds), targets, strict=True)
            ),
        )
        with measured(targets) as cost:
            async with loader(plan) as restoring:
                status = await restoring.wait()
        assert status.keys == keys
        say(f"restored into {shards}", cost, size, keys)
        begun = time.monotonic()
        other = fleet.open_node(args=("--dbfilename", path.name, "--dir", directory))
        assert isinstance(other, RedisNode)
        cost = Cost()
        cost.wall, cost.theirs = time.monotonic() - begun, cpu_of(other)
        say("loaded by an engine at its start", cost, size, keys)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--shards", type=int, default=3)
    parser.add_argument("--mixed", action="store_true", help="hashes, lists and sets beside strings")
    choices = parser.parse_args()
    trio.run(run, choices.keys, choices.shards, choices.mixed)


if __name__ == "__main__":
    main()
