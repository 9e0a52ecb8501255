"""What the nodes of a shard are to keep on disk: what is set next, and what is wrong. Pure.

    settings read ─> set ─> (the log's first rewrite ends) ─> written to the node's own config file

One node of a shard at a time, replicas first: switching the log on takes a fork and the disk. A file says so
only once the log is whole: an engine that starts with a log that was never written starts empty.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from shardproxy.failover.setup import ShardSetup
from shardproxy.model import Address
from shardproxy.store.record import ShardRecord, ShardState

Process = tuple[Address, str]  # a node, and its run_id
READ = ("save", "appendfsync", "appendonly")
REWRITING = ("aof_rewrite_in_progress", "aof_rewrite_scheduled")

DISK = {
    "aof_last_write_status": "its last write to the log of writes failed",
    "aof_last_bgrewrite_status": "its last rewrite of the log of writes failed",
    "rdb_last_bgsave_status": "its last save failed",
}


@dataclass(frozen=True, slots=True)
class Disk:
    """What a node says of its disk."""

    run_id: str
    settings: Mapping[str, str]
    info: Mapping[str, str]  # INFO persistence

    @property
    def is_rewriting(self) -> bool:
        return any(
            self.info.get(name) == "1" for name in ("aof_rewrite_in_progress", "aof_rewrite_scheduled")
        )

    @property
    def troubles(self) -> tuple[str, ...]:
        return tuple(said for name, said in DISK.items() if self.info.get(name, "ok") != "ok")


@dataclass(frozen=True, slots=True)
class Set:
    """Give the node these settings, in their order."""

    node: Address
    run_id: str
    settings: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Keep:
    """Have the node's own config file say so.

    `follow`: the primary of a managed replica, whose file is to go on saying that it is nobody's replica.
    """

    node: Address
    run_id: str
    follow: Address | None


def differing(setup: ShardSetup, disk: Disk) -> tuple[tuple[str, str], ...]:
    """What has to be set."""
    wanted = setup.persistence
    return tuple((name, value) for name, value in wanted if disk.settings.get(name, value) != value)


def next_step(
    setup: ShardSetup,
    record: ShardRecord,
    disks: Mapping[Address, Disk],
    was_set: frozenset[Process],
    refused: Collection[Set | Keep],
) -> Set | Keep | None:
    """What to do next at one of the shard's nodes.

    `disks`: of those that answer; `was_set`: processes that had other settings, and whose files may have them
    still; `refused`: what nodes would not do.
    """
    if record.state is not ShardState.OK or record.primary is None:
        return None
    if any(disk.is_rewriting for disk in disks.values()):
        return None
    order = sorted(disks, key=lambda node: (node == record.primary, str(node)))
    ours = [node for node in order if node in record.joined]
    steps: list[Set | Keep] = [*_sets(setup, disks, ours), *_keeps(setup, record, disks, ours, was_set)]
    return next((step for step in steps if step not in refused), None)


def _sets(setup: ShardSetup, disks: Mapping[Address, Disk], nodes: Iterable[Address]) -> Iterator[Set]:
    for node in nodes:
        if settings := differing(setup, disks[node]):
            yield Set(node, disks[node].run_id, settings)


def _keeps(
    setup: ShardSetup,
    record: ShardRecord,
    disks: Mapping[Address, Disk],
    nodes: Iterable[Address],
    was_set: frozenset[Process],
) -> Iterator[Keep]:
    for node in nodes:
        disk = disks[node]
        if (node, disk.run_id) not in was_set or disk.troubles:
            continue
        if not setup.is_managed:
            yield Keep(node, disk.run_id, None)
        elif node != record.primary:
            yield Keep(node, disk.run_id, record.primary)


def why_not_kept(setup: ShardSetup, record: ShardRecord, was_set: frozenset[Process]) -> str | None:
    """Why the primary would come back without its settings, or None.

    The file of a managed node says that it is nobody's replica, and a primary's would not if it were
    rewritten: it would come back as a primary before anybody knows what it lost.
    """
    if not setup.is_managed or record.primary is None or (record.primary, record.run_id) not in was_set:
        return None
    wanted = ", ".join(f"{name} {value or '(empty)'}" for name, value in setup.persistence)
    shard = setup.name or setup.key.index
    return (
        f"{record.primary} keeps on disk what it should until it restarts: its own config says otherwise. "
        f"Write {wanted} there, or have it written: shardproxy switchover {setup.key.cluster} {shard}"
    )


def alarm_text(
    setup: ShardSetup, record: ShardRecord, disks: Mapping[Address, Disk], refusals: Mapping[Address, str]
) -> str | None:
    """What is wrong with the shard's disks, in a sentence for each node."""
    found = [f"{node}: {why}" for node, disk in sorted(disks.items()) for why in disk.troubles]
    found += [f"{node}: {why}" for node, why in sorted(refusals.items())]
    return "; ".join(found) or None
