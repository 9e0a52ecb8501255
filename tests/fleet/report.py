"""Rows as a table for people. Knows nothing of how they were measured."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import redis

from tests.fleet.rounds import Row, quantile

HEAD = """\
# What faults do to applications, ours and the peers beside each other

Written by `make chaos`, which measures all of it again; `make chaos ARGS="--faults kill --rounds 10"` a part.
Eight writers and four readers, 600 commands a second on the shard that is hit, plain redis-py without
retries and with its own timeouts (5 s), half of the clients with a new connection for every command; through
three proxies they take turns. Each shard has two replicas. Peers as commonly set up: three Sentinels with
`down-after-milliseconds 1000`; HAProxy with a check of `role:master` each second; Redis Cluster of three
shards with `cluster-node-timeout 2000`.

*Writable*: the longest time from the fault on in which no write of the proxy, or client, that fared worst
was acknowledged, in the median and the worst round; a proxy that was killed or frozen is left out. *Lost*:
acknowledged, and not there in the end (in how many rounds). *In doubt*: an error that leaves open whether it
was done; a connection that is refused counts, too. *Stale*: reads that lacked what had been acknowledged
before they began. *Wrong*: what no mode allows: written twice, out of order, there although refused,
acknowledged by a primary after another one had been promoted (I2; by `fast`, a lease later), two promotions
of an epoch (I1), an epoch that goes back (I3). What a client sent, gave up on and another one of it overtook
counts as out of order, too.
\\* = other work ran on the machine, which moves times.
"""
COLUMNS = (
    "mode",
    "rounds",
    "writable p50 / max",
    "attempted",
    "acknowledged",
    "lost",
    "in doubt",
    "stale",
    "errors",
    "wrong",
)


def report(rows: Sequence[Row], extra: dict[str, Any]) -> str:
    dates = sorted(row.date for row in rows) or [""]
    when = f"Measured from {dates[0]} to {dates[-1]} (UTC), last by `{extra['command']}`."
    lines = [HEAD, f"{when}\n{machine()}\n"]
    for fault, of_fault in groupby(rows, key=lambda row: row.fault):
        lines += [f"## {fault}\n", f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
        lines += [f"| {' | '.join(cells(row))} |" for row in of_fault]
        lines.append("")
    return "\n".join(lines)


def cells(row: Row) -> Iterable[str]:
    mark = "\\*" if row.is_busy else ""
    times = f"{quantile(row.writable, 0.5):.2f} / {max(row.writable):.2f} s" if row.writable else "-"
    lost = f"**{row.lost}** ({row.lossy_rounds})" if row.lost else "0"
    return (
        f"{row.mode}{mark}",
        str(row.rounds),
        times,
        f"{row.attempted:,}",
        f"{row.acknowledged:,}",
        lost,
        str(row.in_doubt),
        str(row.stale),
        errors(row) or "none",
        wrong(row) or "none",
    )


def errors(row: Row) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(row.errors.items()))


def wrong(row: Row) -> str:
    """Each kind once."""
    if not row.wrong:
        return ""
    first = row.wrong[0].replace("|", "/")
    return first if len(row.wrong) == 1 else f"{first}; and {len(row.wrong) - 1} more"


def say(row: Row) -> str:
    """A row as a line."""
    return " | ".join((row.fault, *cells(row)))


def machine() -> str:
    told = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    names = [line.split(":", 1)[1].strip() for line in told if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    programs = ("redis-server --version", "etcd --version", "haproxy -v")
    versions = "; ".join(filter(None, map(version, programs)))
    processor = names[0] if names else platform.machine()
    where = f"{os.cpu_count()} cores ({processor}), {memory:.0f} GiB, Linux {platform.release()}"
    return f"Machine: {where}; Python {platform.python_version()}; redis-py {redis.__version__}; {versions}."


def version(command: str) -> str:
    """The first line of what a program says."""
    try:
        said = subprocess.run(
            command.split(),
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"},
        ).stdout
    except OSError:
        return ""
    return said.splitlines()[0].split(" sha=")[0].split(" - ")[0].split(" 20")[0] if said else ""
