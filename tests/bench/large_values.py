"""What a client that moves large values costs another on its worker: `python -m tests.bench.large_values`.

Two shards of real engines behind a proxy with one worker. One client sets and gets large values of the
first shard, in turn. Another one gets small values: of the second shard, then of the first, whose engine is
busy with the large ones. What that costs is shown by the same GETs asked of the engines themselves.
"""

from __future__ import annotations

import argparse
import multiprocessing
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

MEBIBYTE = 1 << 20
LARGE, SMALL_BESIDE, SMALL_ELSEWHERE = b"bar", b"b", b"foo"  # slots 5061, 3300 and 12182
CONFIG = """\
workers: 1
admin: 127.0.0.1:{}
clusters:
  main:
    engine: redis
    endpoints: {{configuration: "127.0.0.1:{}"}}
    limits: {{request: 512MiB, client_output: 512MiB, shard_queue: 512MiB}}
    shards:
      - nodes: ["127.0.0.1:{}"]
      - nodes: ["127.0.0.1:{}"]
"""
CHUNK = bytearray(MEBIBYTE)
Address = tuple[str, int]


def request(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def connect(address: Address, patience: float = 20.0) -> socket.socket:
    deadline = time.monotonic() + patience
    while True:
        try:
            client = socket.create_connection(address)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return client
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def take(client: socket.socket, length: int) -> None:
    while length:
        length -= client.recv_into(CHUNK, min(length, MEBIBYTE))


def move(address: Address, size: int, moved: object) -> None:
    """Set and get a large value for ever."""
    client = connect(address)
    command = request(b"SET", LARGE, bytes(size))
    answer = len(b"$%d\r\n" % size) + size + 2
    while True:
        client.sendall(command)
        take(client, 5)
        client.sendall(request(b"GET", LARGE))
        take(client, answer)
        with moved.get_lock():  # type: ignore[attr-defined]
            moved.value += 2  # type: ignore[attr-defined]


def latencies(address: Address, key: bytes, seconds: float) -> list[float]:
    """Milliseconds of one GET after another."""
    client, command = connect(address), request(b"GET", key)
    until, found = time.monotonic() + seconds, []
    while time.monotonic() < until:
        before = time.perf_counter()
        client.sendall(command)
        client.recv(4096)
        found.append((time.perf_counter() - before) * 1000)
        time.sleep(0.0005)
    return found


def say(what: str, found: list[float], moved: int) -> None:
    cuts = statistics.quantiles(found, n=1000)
    row = f"{cuts[499]:8.2f} {cuts[989]:8.2f} {cuts[998]:8.2f} {max(found):8.2f}"
    print(f"{what:48} {row} {len(found):8d} {moved:6d}", flush=True)


@contextmanager
def running(*command: str) -> Iterator[None]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=100, help="MiB of a large value")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each row")
    choices = parser.parse_args()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        first, second, proxy = (("127.0.0.1", free_port()) for _ in range(3))
        for _, port in (first, second):
            words = f"redis-server --port {port} --save  --appendonly no --proto-max-bulk-len 1gb".split(" ")
            stack.enter_context(running(*words))
        config = directory / "proxy.yaml"
        config.write_text(CONFIG.format(free_port(), proxy[1], first[1], second[1]))
        stack.enter_context(running(sys.executable, "-m", "shardproxy", "run", "--config", str(config)))
        with connect(proxy) as client:
            for key in (SMALL_BESIDE, SMALL_ELSEWHERE):
                client.sendall(request(b"SET", key, b"x" * 100))
                while client.recv(4096) != b"+OK\r\n":  # its engine may still start
                    client.sendall(request(b"SET", key, b"x" * 100))
        columns = "".join(f" {column:>8}" for column in ("p50", "p99", "p99.9", "max", "GETs"))
        print(f"{'GET of a small value, ms':48}{columns}  moved")
        say("nothing else is done", latencies(proxy, SMALL_ELSEWHERE, choices.seconds / 2), 0)
        moved = multiprocessing.Value("q", 0)
        order = (proxy, choices.size * MEBIBYTE, moved)
        mover = multiprocessing.Process(target=move, args=order, daemon=True)
        mover.start()
        for what, address, key in (
            ("from the other shard", proxy, SMALL_ELSEWHERE),
            ("from the other shard, of its engine itself", second, SMALL_ELSEWHERE),
            ("from the shard of the large values", proxy, SMALL_BESIDE),
            ("from that shard, of its engine itself", first, SMALL_BESIDE),
        ):
            before = moved.value
            say(what, latencies(address, key, choices.seconds), moved.value - before)
        mover.terminate()


if __name__ == "__main__":
    main()
