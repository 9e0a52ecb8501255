"""Nodes are who they say they are, not what they are called. Pure.

One process may be named twice: the config changed its address, or has both its host name and its IP address.
"""

from __future__ import annotations

from collections.abc import Iterator

from shardproxy.failover.adoption import Healths
from shardproxy.failover.setup import ShardSetup
from shardproxy.model import Address
from shardproxy.store.record import ShardRecord


def aliases(setup: ShardSetup, record: ShardRecord, healths: Healths) -> Iterator[tuple[Address, Address]]:
    """Names on record that the config has no more, each with the configured one of the same process."""
    known = dict(record.processes)
    primary = record.primary or record.last
    if primary is not None and record.run_id:
        known[primary] = record.run_id
    for old in record.nodes:
        if old in setup.addresses:
            continue
        run_id = run_id_of(healths, old) or known.get(old, "")
        for new in setup.addresses:
            if new not in record.joined and run_id and run_id_of(healths, new) == run_id:
                yield old, new
                break


def named_twice(setup: ShardSetup, healths: Healths) -> tuple[Address, Address] | None:
    """Two configured nodes that are one process, if there are such."""
    seen: dict[str, Address] = {}
    for node in setup.addresses:
        run_id = run_id_of(healths, node)
        if run_id and run_id in seen:
            return seen[run_id], node
        seen[run_id] = node
    return None


def run_id_of(healths: Healths, node: Address) -> str:
    """The process that answers there now, or nothing."""
    health = healths.get(node)
    return health.server.run_id if health is not None and health.server is not None else ""
