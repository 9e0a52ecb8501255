"""Who is asked to vouch for acknowledged writes. Pure.

A replica of the config that is in sync and fit to be promoted begins to vouch at once; one that lost sync
stops after a while, so that its absence does not keep a shard from being failed over for ever.
"""

from __future__ import annotations

from shardproxy.failover.adoption import Healths
from shardproxy.failover.memory import Memory, is_current
from shardproxy.failover.setup import ShardSetup
from shardproxy.model import Address
from shardproxy.model.health import NodeState
from shardproxy.store.record import Promise, ShardRecord


def promise_wanted(
    setup: ShardSetup, record: ShardRecord, healths: Healths, memory: Memory, now: float
) -> Promise:
    """What acknowledgements should mean from now on; without anything to go by, what they mean already."""
    fit = {node for node in setup.addresses if node != record.primary and _is_fit(healths, node)}
    present = set(record.promise.voters & fit)
    joining = {node for node in fit - present if _is_joining(record, healths, node)}
    behind = {node for node in present if memory.is_left_behind(node, now)}
    staying = _kept(present - behind, behind, setup.wait - len(joining), memory)
    return Promise(frozenset(staying | joining), setup.wait)


def _is_fit(healths: Healths, node: Address) -> bool:
    """Whether it may be promoted, as far as is known of it."""
    health = healths.get(node)
    if health is None or health.replication is None:
        return True
    return health.replication.priority > 0 and health.verdict.state is not NodeState.UNWRITABLE


def _is_joining(record: ShardRecord, healths: Healths, node: Address) -> bool:
    """It is in sync, as the process that is on record, and has reached what we saw the primary have.

    Right after our start nobody looks old: who is cut off silently would be taken for one in sync.
    """
    health = healths.get(node)
    if not is_current(health) or health is None or health.server is None or health.synced_at is None:
        return False
    return node in record.joined and record.has_process(node, health.server.run_id)


def _kept(present: set[Address], behind: set[Address], wanted: int, memory: Memory) -> set[Address]:
    """With `wait`, who lost sync last still vouches where nobody else could: no write can go by it."""
    latest = sorted(behind, key=lambda node: memory.apart_since.get(node, 0.0), reverse=True)
    return present | set(latest[: max(0, wanted - len(present))])
