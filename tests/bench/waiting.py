"""`python -m tests.bench.waiting`: many clients that wait for keys over three shards.

How soon each is served after a push, what connections the nodes have, and what memory a client takes.

The clients and the pushes are of one Python process, whose own time is part of what is measured.
"""

from __future__ import annotations

import json
import random
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import hiredis
from cyclopts import App

from shardproxy.fleet import Fleet, RedisNode
from tests.fixtures.proxy import Proxy, config_of

SEED = 7
KINDS = {
    "BLPOP": ("BLPOP {k} 0", "RPUSH {k} x"),
    "BRPOP": ("BRPOP {k} 0", "RPUSH {k} x"),
    "BLMOVE": ("BLMOVE {k} {k}to LEFT LEFT 0", "RPUSH {k} x"),
    "BLMPOP": ("BLMPOP 0 1 {k} LEFT", "RPUSH {k} x"),
    "BZPOPMIN": ("BZPOPMIN {k} 0", "ZADD {k} 1 x"),
    "BZMPOP": ("BZMPOP 0 1 {k} MIN", "ZADD {k} 1 x"),
    "XREAD": ("XREAD BLOCK 0 STREAMS {k} $", "XADD {k} * f v"),
    "XREADGROUP": ("XREADGROUP GROUP g c BLOCK 0 STREAMS {k} >", "XADD {k} * f v"),
}

app = App(name="python -m tests.bench.waiting", help_format="plaintext", result_action="return_value")


class Crowd:
    """Clients that wait, each for a key, and the order they came in."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._selector = selectors.DefaultSelector()
        self._pusher = self._connect()
        self._replies = hiredis.Reader()
        self.waiting: dict[tuple[str, str], list[socket.socket]] = {}
        self.wrong = 0

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(self._address, 10.0)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def ask(self, *words: str | bytes) -> object:
        self._pusher.sendall(hiredis.pack_command(words))  # type: ignore[arg-type]  # its stub is wrong
        while (reply := self._replies.gets()) is False:
            self._replies.feed(self._pusher.recv(65536))
        return reply

    def add(self, kind: str, key: str) -> None:
        client = self._connect()
        self._selector.register(client, selectors.EVENT_READ)
        self.wait(kind, key, client)

    def wait(self, kind: str, key: str, client: socket.socket) -> None:
        client.sendall(hiredis.pack_command(tuple(KINDS[kind][0].format(k=key).split())))  # type: ignore[arg-type]
        self.waiting.setdefault((kind, key), []).append(client)

    def push(self, kind: str, key: str) -> float:
        """Seconds from a push until whoever waits for it is served, all of them where it is for all."""
        expected = self.waiting[kind, key]
        served = expected[:] if kind == "XREAD" else expected[:1]
        del expected[: len(served)]
        left = set(served)
        start = time.perf_counter()
        self._pusher.sendall(hiredis.pack_command(tuple(KINDS[kind][1].format(k=key).split())))  # type: ignore[arg-type]
        while left:
            for ready, _ in self._selector.select(10.0) or self._late(kind, key):
                client = ready.fileobj
                assert isinstance(client, socket.socket)
                client.recv(65536)
                self.wrong += client not in left
                left.discard(client)
        took = time.perf_counter() - start
        while self._replies.gets() is False:
            self._replies.feed(self._pusher.recv(65536))
        for client in served:
            self.wait(kind, key, client)
        return took

    @staticmethod
    def _late(kind: str, key: str) -> list[tuple[selectors.SelectorKey, int]]:
        raise TimeoutError(f"nobody is served of those who wait for {key} ({kind})")


@contextmanager
def served(workers: int, clients: int) -> Iterator[tuple[Fleet, Proxy]]:
    with ExitStack() as stack:
        fleet = stack.enter_context(Fleet(shards=3, replicas=0))
        proxy = Proxy(config_of(fleet, workers=workers, limits={"clients": clients + 100}))
        stack.callback(proxy.stop)
        yield fleet, proxy


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def connections(fleet: Fleet) -> list[int]:
    """Of each primary, those of the proxy's health checks and of this question included."""

    def count(node: RedisNode) -> int:
        lines = node.ask("INFO", "clients").decode().splitlines()
        return int(next(ln.partition(":")[2] for ln in lines if ln.startswith("connected_clients:")))

    return [count(shard.primary) for shard in fleet.shards if isinstance(shard.primary, RedisNode)]


@app.default
def bench(*, clients: int = 9500, per_key: int = 10, pushes: int = 5000, workers: int = 2) -> int:
    """Measure the time from a push to the reply, and what the clients cost.

    Parameters
    ----------
    clients
        How many wait.
    per_key
        How many of them for one key.
    pushes
        How many are measured.
    workers
        Threads of the proxy.
    """
    random.seed(SEED)
    with served(workers, clients) as (fleet, proxy):
        crowd = Crowd(proxy.host, proxy.port)
        idle, before = resident(proxy.pid), connections(fleet)
        kinds = list(KINDS)
        keys = [(kinds[n % len(kinds)], f"{{key:{n}}}") for n in range(max(1, clients // per_key))]
        for kind, key in keys:
            if kind == "XREADGROUP":
                crowd.ask("XGROUP", "CREATE", key, "g", "$", "MKSTREAM")
        start = time.perf_counter()
        for number in range(clients):
            crowd.add(*keys[number % len(keys)])
        came = time.perf_counter() - start
        time.sleep(3.0)
        held, after = resident(proxy.pid), connections(fleet)
        times: dict[str, list[float]] = {kind: [] for kind in kinds}
        random.shuffle(keys)
        for number in range(pushes):
            kind, key = keys[number % len(keys)]  # whoever was served waits again by then
            times[kind].append(crowd.push(kind, key))
    every = sorted(took for of_kind in times.values() for took in of_kind)

    def percentile(values: list[float], share: float) -> float:
        return round(sorted(values)[int(share * (len(values) - 1))] * 1e3, 2)

    json.dump(
        {
            "clients": clients,
            "came_seconds": round(came, 2),
            "kib_per_client": round((held - idle) / clients / 1024, 2),
            "connections_per_node": {"before": before, "with_all_waiting": after},
            "milliseconds": {f"p{share}": percentile(every, share / 100) for share in (50, 99, 100)},
            "p99_by_kind": {kind: percentile(values, 0.99) for kind, values in times.items() if values},
            "served_out_of_order": crowd.wrong,
        },
        sys.stdout,
        indent=2,
    )
    print()
    return 0


if __name__ == "__main__":
    sys.exit(app())
