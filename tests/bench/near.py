"""`python -m tests.bench.near`: hot keys with the near cache and without, over three shards, one worker.

Keys are drawn by Zipf's law (0.99). What counts is the proxy's own CPU time for each key, and how much of it
the kernel takes: for connections of clients, with the near cache, and no cache in a proxy saves that.
"""

from __future__ import annotations

import bisect
import itertools
import os
import random
import socket
import statistics
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from cyclopts import App

from shardproxy.fleet import Fleet
from tests.bench.machine import describe_machine, machine_line
from tests.fixtures.proxy import Proxy, config_of

SKEW = 0.99
SEED = 7
VALUE = 200  # bytes
BATCHES = 500  # that each connection repeats

app = App(name="python -m tests.bench.near", help_format="plaintext", result_action="return_value")


@dataclass(frozen=True)
class Workload:
    """`batch` requests of one connection leave together; each asks for so many keys."""

    name: str
    batch: int
    keys: int = 1


WORKLOADS = (Workload("GET", 1), Workload("GET, pipeline 16", 16), Workload("MGET of 10", 1, 10))


class Zipf:
    """Keys by their rank."""

    def __init__(self, keys: int) -> None:
        self._sums = list(itertools.accumulate(1 / rank**SKEW for rank in range(1, keys + 1)))
        self._random = random.Random(SEED)

    def draw(self) -> int:
        return bisect.bisect(self._sums, self._random.random() * self._sums[-1])


def command(*words: str) -> bytes:
    return b"".join([b"*%d\r\n" % len(words), *(b"$%d\r\n%s\r\n" % (len(w), w.encode()) for w in words)])


def batch(zipf: Zipf, workload: Workload) -> tuple[bytes, int]:
    """Some requests, and how many bytes their replies have."""
    names = [[f"key:{zipf.draw()}" for _ in range(workload.keys)] for _ in range(workload.batch)]
    one = len(b"$%d\r\n" % VALUE) + VALUE + 2
    if workload.keys == 1:
        return b"".join(command("GET", *keys) for keys in names), one * workload.batch
    head = len(b"*%d\r\n" % workload.keys)
    return b"".join(command("MGET", *keys) for keys in names), (head + one * workload.keys) * workload.batch


def ask(proxy: Proxy, batches: list[tuple[bytes, int]], until: float, counts: list[int], at: int) -> None:
    with closing(socket.create_connection((proxy.host, proxy.port))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for requests, expected in itertools.cycle(batches):
            connection.sendall(requests)
            while expected > 0:
                expected -= len(connection.recv(65536))
            assert expected == 0, "a reply of another size: a key is missing"
            counts[at] += 1
            if time.monotonic() > until:
                return


def cpu_of(pid: int) -> float:
    """Seconds, of all threads."""
    return time.clock_gettime((~pid << 3) | 2)  # the kernel's clock of that process (clock_getcpuclockid)


def kernel_of(pid: int) -> float:
    """Seconds of these in the kernel, by its ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[12]) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """Of a key: microseconds of CPU, those of them in the kernel; and how many keys a second."""

    cpu: float
    kernel: float
    rate: float


def measure(proxy: Proxy, workload: Workload, keys: int, seconds: float, connections: int) -> Cost:
    """What keys cost, once all is warm."""
    zipf = Zipf(keys)
    plans = [[batch(zipf, workload) for _ in range(BATCHES)] for _ in range(connections)]
    for warm in (1.0, seconds):
        counts = [0] * connections
        until, began = time.monotonic() + warm, time.monotonic()
        cpu, kernel = cpu_of(proxy.pid), kernel_of(proxy.pid)
        threads = [
            threading.Thread(target=ask, args=(proxy, plans[n], until, counts, n)) for n in range(connections)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    total = sum(counts) * workload.batch * workload.keys
    return Cost(
        (cpu_of(proxy.pid) - cpu) / total * 1e6,
        (kernel_of(proxy.pid) - kernel) / total * 1e6,
        total / (time.monotonic() - began),
    )


@app.default
def main(*, keys: int = 20_000, seconds: float = 5.0, connections: int = 8, rounds: int = 3) -> int:
    """Measure both in turn, and print the medians."""
    print(machine_line(describe_machine()))
    with ExitStack() as stack:
        fleet = stack.enter_context(Fleet(3, 0))
        plain, kept = config_of(fleet, workers=1), config_of(fleet, workers=1)
        kept["clusters"]["main"]["near_cache"] = {"memory": "64mb"}
        proxies = {name: Proxy(config) for name, config in (("without", plain), ("with", kept))}
        for proxy in proxies.values():
            stack.callback(proxy.stop)
        fill(proxies["without"], keys)
        print(f"{keys} keys of {VALUE} bytes, Zipf {SKEW}, {connections} connections, {rounds} rounds")
        print(f"{'':18}{'CPU us a key (in the kernel)':>34}{'':8}{'keys/s':>22}")
        print(f"{'':18}{'without':>17}{'with':>17}{'ratio':>8}{'without':>12}{'with':>12}{'ratio':>8}")
        for workload in WORKLOADS:
            found: dict[str, list[Cost]] = {name: [] for name in proxies}
            for _ in range(rounds):
                for name, proxy in proxies.items():
                    found[name].append(measure(proxy, workload, keys, seconds, connections))
            without, near = middle(found["without"]), middle(found["with"])
            saved, gained = without.cpu / near.cpu, near.rate / without.rate
            print(
                f"{workload.name:18}{without.cpu:9.2f} ({without.kernel:5.2f})"
                f"{near.cpu:9.2f} ({near.kernel:5.2f}){saved:8.2f}"
                f"{without.rate:12.0f}{near.rate:12.0f}{gained:8.2f}"
            )
        metrics = proxies["with"].metrics()
        hits, misses = (
            metrics[f'shardproxy_near_{what}_total{{cluster="main"}}'] for what in ("hits", "misses")
        )
        print(f"hits {hits:.0f}, misses {misses:.0f}: {hits / (hits + misses):.1%}")
    return 0


def middle(costs: Sequence[Cost]) -> Cost:
    """The medians."""
    names = ("cpu", "kernel", "rate")
    return Cost(*(statistics.median(getattr(cost, name) for cost in costs) for name in names))


def fill(proxy: Proxy, keys: int) -> None:
    with closing(socket.create_connection((proxy.host, proxy.port))) as connection:
        for first in range(0, keys + 1, 500):
            names = range(first, min(first + 500, keys + 1))
            connection.sendall(b"".join(command("SET", f"key:{n}", "x" * VALUE) for n in names))
            expected = 5 * len(names)
            while expected > 0:
                expected -= len(connection.recv(65536))


if __name__ == "__main__":
    raise SystemExit(app())
