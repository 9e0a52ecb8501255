"""What must hold of a proxy whatever is done to it: it lives, it stays small, and others are served."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.fixtures.clients import Wire
from tests.fixtures.proxy import Proxy, wait_until

MIB = 1 << 20
RESTARTS = "shardproxy_worker_restarts_total"


def memory_peak(pid: int) -> int:
    """The most memory a process has held since its peak was reset, bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


@contextmanager
def at_most(proxy: Proxy, growth: int) -> Iterator[None]:
    """The proxy never holds more than so many bytes beyond what it holds now."""
    forget_peak(proxy.pid)
    before = memory_peak(proxy.pid)
    yield
    grown = memory_peak(proxy.pid) - before
    assert grown <= growth, f"{grown / MIB:.1f} MiB more at the peak, {growth / MIB:.0f} allowed"


def restarts(proxy: Proxy) -> float:
    return sum(value for name, value in proxy.metrics().items() if name.startswith(RESTARTS))


def clients(proxy: Proxy) -> float:
    return sum(v for name, v in proxy.metrics().items() if name.startswith("shardproxy_clients{"))


def closed(proxy: Proxy, reason: str) -> float:
    return proxy.metrics().get(f'shardproxy_clients_closed_total{{cluster="main",reason="{reason}"}}', 0.0)


def wait_clients(proxy: Proxy, count: int) -> None:
    wait_until(lambda: clients(proxy) == count, f"{count} clients are left")


def serves(connection: Wire, mark: str) -> None:
    """One client's ordinary work, on all shards, with every reply looked at."""
    names = [f"{mark}:{i}" for i in range(20)]
    values = [name.encode() for name in names]
    expect([connection.ask("SET", name, name) for name in names], [b"OK"] * len(names))
    expect([connection.ask("GET", name) for name in names], values)
    expect(connection.ask("MGET", *names), values)
    expect(connection.ask("DEL", *names), len(names))


def expect(got: Any, wanted: Any) -> None:
    assert got == wanted, f"{got!r} instead of {wanted!r}"
