"""What happened, joined from what engines, proxies and the store have written down themselves.

    engines   their logs: who told them to follow whom, or nobody, and when       (by the sender's address)
    proxies   their logs: which epoch of which shard they served, and when
    store     its own history: every record that was ever put, in order

The invariants of failover are checked on it; tests/simulation/checks.py names them all.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from shardproxy.fleet import RedisNode
from shardproxy.fleet.process import LOG
from shardproxy.model.replication import ShardKey
from shardproxy.store.record import ShardRecord
from tests.failover.load import Write

SLACK = 0.02  # seconds: an engine's log has milliseconds, and is written after it has acted

# 31314:M 29 Nov 2026 19:31:04.306 * MASTER MODE enabled (user request from 'id=6 addr=127.0.2.1:33446 ...
COMMAND = re.compile(
    r"^\d+:. (?P<at>\d+ \w+ \d+ [\d:.]+) . (?:(?P<promoted>MASTER MODE) enabled"
    r"|REPLICAOF (?P<primary>\S+) enabled) \((?:user|failover) request from '.*? addr=(?P<sender>[\d.]+):"
)
SERVED = re.compile(r"shard (?P<shard>\d+) (?P<state>\w+) at epoch (?P<epoch>\d+)")


@dataclass(frozen=True, slots=True)
class Told:
    """An engine was told whom to follow, None = nobody: it was promoted. Times are monotonic."""

    at: float
    engine: str
    port: int
    primary: str | None
    sender: str  # from which host


@dataclass(frozen=True, slots=True)
class Served:
    """A proxy's process served a shard as of that epoch."""

    at: float
    proxy: str
    shard: int
    epoch: int
    state: str


@dataclass(frozen=True, slots=True)
class History:
    """Of one cluster, from some moment on."""

    told: tuple[Told, ...]
    served: tuple[Served, ...]
    records: tuple[ShardRecord, ...]  # in the store's order; those of before are left out

    def promotions(self, ports: Iterable[int]) -> list[Told]:
        """Of these engines, in order of time."""
        return [told for told in self.told if told.primary is None and told.port in set(ports)]


def told_read(nodes: Sequence[RedisNode], since: float) -> tuple[Told, ...]:
    """From the engines' logs."""
    found = []
    for node in nodes:
        for line in (node.directory / LOG).read_text(errors="replace").splitlines():
            if (match := COMMAND.match(line)) is None:
                continue
            at = monotonic_of(datetime.strptime(match["at"], "%d %b %Y %H:%M:%S.%f").timestamp())  # noqa: DTZ007
            if at >= since:
                primary = None if match["promoted"] else match["primary"]
                found.append(Told(at, node.name, node.port, primary, match["sender"]))
    return tuple(sorted(found, key=lambda told: told.at))


def served_read(logs: Mapping[str, Path], since: float) -> tuple[Served, ...]:
    """From the proxies' logs, in the order of each; the clock of one that was told another time is wrong."""
    found = []
    for proxy, log in logs.items():
        for line in log.read_text(errors="replace").splitlines():
            if '"topology served"' not in line:
                continue
            said = json.loads(line)
            at = monotonic_of(datetime.fromisoformat(said["timestamp"]).timestamp())
            found += [
                Served(at, proxy, int(one["shard"]), int(one["epoch"]), one["state"])
                for one in SERVED.finditer(said["why"])
                if at >= since
            ]
    return tuple(found)


def monotonic_of(wall: float) -> float:
    return wall - time.time() + time.monotonic()


# Checks. Each complaint names the invariant that broke.


def why_wrong(history: History, shards: Mapping[int, Sequence[int]]) -> list[str]:
    """I1 and I3; `shards`: the ports of each one's engines."""
    wrong = []
    for shard, ports in shards.items():
        records = [record for record in history.records if record.key.index == shard]
        wrong += _why_many_targets(records)
        if records:
            wrong += _why_unasked(history.promotions(ports), records)
    for key in sorted({record.key for record in history.records}, key=str):
        wrong += _why_back(key, [record.epoch for record in history.records if record.key == key])
    for proxy, shard in sorted({(one.proxy, one.shard) for one in history.served}):
        epochs = [one.epoch for one in history.served if (one.proxy, one.shard) == (proxy, shard)]
        wrong += _why_back((proxy, shard), epochs)
    return wrong


def _why_back(what: ShardKey | tuple[str, int], epochs: Sequence[int]) -> list[str]:
    return [
        f"I3: {what}: epoch {after} after {before}" for before, after in pairwise(epochs) if after < before
    ]


def _why_many_targets(records: Sequence[ShardRecord]) -> list[str]:
    wrong = []
    for epoch in sorted({record.epoch for record in records}):
        of_epoch = [record for record in records if record.epoch == epoch]
        targets = {str(record.target) for record in of_epoch if record.target}
        # the epoch of a switchover begins with the primary of before
        primaries = {str(record.primary) for record in of_epoch if record.primary and record.is_settled}
        if max(len(targets), len(primaries)) > 1:
            wrong.append(f"I1: {of_epoch[0].key} epoch {epoch} has {sorted(targets)}, {sorted(primaries)}")
    return wrong


def _why_unasked(promotions: Sequence[Told], records: Sequence[ShardRecord]) -> list[str]:
    """Each promotion is that of a record, another engine's of a later epoch."""
    wrong = []
    epoch, before = 0, None
    for told in promotions:
        least = epoch if told.port == before else epoch + 1
        fits = [r.epoch for r in records if r.target and r.target.port == told.port and r.epoch >= least]
        if not fits:
            wrong.append(
                f"I1: {told.sender} promoted {told.engine} ({told.port}), which no epoch from {least} on has"
            )
            continue
        epoch, before = min(fits), told.port
    return wrong


def why_late_acks(lost: Sequence[Write], promotions: Sequence[Told], grace: float = 0.0) -> list[str]:
    """I2: what was sent after the last promotion, and a time of grace, and acknowledged is there."""
    if not promotions:
        return []
    last = promotions[-1]
    late = [write for write in lost if write.began > last.at + grace + SLACK]
    if not late:
        return []
    after = max(write.began for write in late) - last.at
    return [f"I2: {len(late)} writes acknowledged by an older epoch, until {after:.2f} s after {last.engine}"]


def why_moved(history: History, since: float, until: float) -> list[str]:
    """I7: while the store is down nobody is told whom to follow, and no proxy serves another epoch."""
    wrong = [
        f"I7: {told.engine} was told to follow {told.primary or 'nobody'} by {told.sender}"
        for told in history.told
        if since <= told.at <= until
    ]
    highest = {(one.proxy, one.shard): one.epoch for one in history.served if one.at < since}
    return wrong + [
        f"I7: {one.proxy} went on to epoch {one.epoch} of shard {one.shard}"
        for one in history.served
        if since <= one.at <= until and one.epoch > highest.get((one.proxy, one.shard), one.epoch)
    ]


def why_spoken(history: History, sender: str, since: float, until: float) -> list[str]:
    """A proxy that has lost its leadership tells no engine anything."""
    return [
        f"{sender} told {told.engine} to follow {told.primary or 'nobody'}, {told.at - since:.2f} s after"
        for told in history.told
        if told.sender == sender and since <= told.at <= until
    ]
