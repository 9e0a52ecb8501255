"""Has the nodes of one cluster bear the seals of their slots (model/seal.py), while this process leads it.

The latest few on each node: one that was the primary once, and is again, tells who knew it then. The latest
comes first, so that no node ever has an older one alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
import trio

from shardproxy.failover.interfaces import Nodes, SlotDesk
from shardproxy.model import Address
from shardproxy.model.board import Board, News
from shardproxy.model.replication import ShardKey
from shardproxy.nodes import NodeError, NodeFailure
from shardproxy.store.record import ShardRecord
from shardproxy.wire.reply import Failure, Reply

LOOK = 10.0  # seconds between looks: scripts may have been flushed
PAUSE = 1.0  # seconds between two of them, whatever happens
KEPT = 16  # seals that a node has
TIMEOUT = 1.0
AT_ONCE = 16  # nodes

log = structlog.get_logger()


class SealError(Exception):
    """A node takes no script; the text says which, and why."""


@dataclass(frozen=True, slots=True)
class SealTools:
    """What the service needs of its process."""

    nodes: Nodes
    records: Board[ShardKey, ShardRecord]


async def run_seals(desk: SlotDesk, tools: SealTools) -> None:
    """Put them again and again until cancelled; nothing is to be done where nobody may be out of touch."""
    if not desk.lingers:
        return
    news, limiter = News(), trio.CapacityLimiter(AT_ONCE)
    refused: dict[Address, str] = {}
    tools.records.subscribe(news)
    try:
        while True:
            async with trio.open_nursery() as nursery:
                for record in desk.records.values():
                    for node in record.nodes:
                        nursery.start_soon(_put, desk, tools.nodes, record, node, limiter, refused)
            await trio.sleep(PAUSE)
            with trio.move_on_after(LOOK - PAUSE):
                await news.wait()
    finally:
        tools.records.unsubscribe(news)


async def _put(
    desk: SlotDesk,
    nodes: Nodes,
    record: ShardRecord,
    node: Address,
    limiter: trio.CapacityLimiter,
    refused: dict[Address, str],
) -> None:
    async with limiter:
        try:
            await seals_put(nodes, node, None, desk.seals(record, KEPT), within=TIMEOUT)
            refused.pop(node, None)
        except SealError as error:
            if refused.get(node) != str(error):
                log.warning("slots of a node have no seal", cluster=desk.cluster, why=str(error))
            refused[node] = str(error)
        except (NodeFailure, NodeError):
            return  # its health says why


async def seals_put(
    nodes: Nodes, node: Address, run_id: str | None, seals: Sequence[str], *, within: float
) -> None:
    """Have a node bear these; raise SealError, NodeFailure or NodeError."""
    requests = [("SCRIPT", "LOAD", seal) for seal in seals]
    if requests:
        seals_check(node, await nodes.request_many(node, requests, timeout=within, run_id=run_id))


def seals_check(node: Address, replies: Sequence[Reply]) -> None:
    """Raise SealError where a node said no."""
    for reply in replies:
        if isinstance(reply, Failure):
            raise SealError(f"{node} takes no seal of its slots (SCRIPT LOAD): {reply.text}")
