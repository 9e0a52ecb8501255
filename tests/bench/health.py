"""`python -m tests.bench.health`: what it costs to watch many shards, as CPU of the process that watches.

The nodes are cheap engines in another process (`fake_nodes.py`), which is not counted.
"""

from __future__ import annotations

import json
import logging
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import trio
from cyclopts import App

from shardproxy.health.monitor import Boards, run_monitor
from shardproxy.health.settings import HealthSettings
from shardproxy.model import Address
from shardproxy.model.board import Board
from shardproxy.model.health import NodeState
from shardproxy.model.replication import Lineage, ShardKey
from shardproxy.nodes import OpenLinks
from shardproxy.store.record import ShardRecord, ShardState
from tests.bench.fake_nodes import HOST, REPLID, run_id_of

WARM_UP = 4.0  # seconds: all nodes are connected to and asked who manages them

app = App(name="python -m tests.bench.health", help_format="plaintext", result_action="return_value")


@contextmanager
def fake_shards(shards: int, nodes: int) -> Iterator[list[list[Address]]]:
    """Addresses of fake nodes, shard by shard, the primary first."""
    argv = [sys.executable, "-m", "tests.bench.fake_nodes", str(shards), str(nodes)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            ports: list[list[int]] = json.loads(process.stdout.readline())
            yield [[Address(HOST, port) for port in shard] for shard in ports]
        finally:
            process.stdin.close()
            process.wait()


def record(index: int, nodes: list[Address]) -> ShardRecord:
    """A settled shard whose first node is the primary."""
    return ShardRecord(
        ShardKey("bench", index),
        1,
        ShardState.OK,
        nodes[0],
        tuple(nodes),
        joined=tuple(nodes),
        processes=tuple((node, run_id_of(node.port)) for node in nodes[1:]),
        lineage=Lineage(REPLID),
        run_id=run_id_of(nodes[0].port),
    )


async def watch(shards: list[list[Address]], seconds: float, max_staleness: float | None) -> None:
    records: Board[ShardKey, ShardRecord] = Board()
    for index, nodes in enumerate(shards):
        made = record(index, nodes)
        records.show(made.key, made)
    boards = Boards()
    links = OpenLinks()
    async with trio.open_nursery() as nursery:
        await nursery.start(links.run)
        await nursery.start(
            lambda task_status: run_monitor(
                records,
                boards,
                links.connect,
                max_staleness=lambda key: max_staleness,
                settings=HealthSettings(),
                task_status=task_status,
            )
        )
        await trio.sleep(WARM_UP)
        asked, cpu, at = boards.statistics.questions, time.process_time(), time.monotonic()
        await trio.sleep(seconds)
        cpu, took = time.process_time() - cpu, time.monotonic() - at
        up = sum(health.verdict.state is NodeState.UP for health in boards.health.values())
        nodes_in_all = sum(map(len, shards))
        print(f"{len(shards)} shards, {nodes_in_all} nodes, {up} of them up")
        print(f"CPU {100 * cpu / took:.1f} % of a core over {took:.1f} s")
        asked = boards.statistics.questions - asked
        print(f"{asked / took:.0f} questions a second, {1e6 * cpu / asked:.0f} us each")
        print(f"longest delay of the loop: {1000 * boards.statistics.loop_lag(trio.current_time()):.0f} ms")
        nursery.cancel_scope.cancel()


@app.default
def bench(
    *, shards: int = 250, nodes: int = 3, seconds: float = 10.0, max_staleness: float | None = None
) -> None:
    """Watch shards and print what it costs.

    Parameters
    ----------
    shards
        How many.
    nodes
        Of each.
    seconds
        How long it is measured, after a warm-up.
    max_staleness
        In seconds, as where replicas are read from; without, they are not.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with fake_shards(shards, nodes) as found:
        trio.run(watch, found, seconds, max_staleness)


if __name__ == "__main__":
    sys.exit(app())
