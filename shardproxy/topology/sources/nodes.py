"""What nodes say of themselves, asked at once and without patience."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import trio

from shardproxy.model import Address
from shardproxy.model.health import NodeHealth
from shardproxy.model.replication import Replication, Server
from shardproxy.nodes import NodeError, NodeFailure, NodeLinks
from shardproxy.wire.info import InfoError, read_fields, read_replication, read_server
from shardproxy.wire.reply import Failure

ASK_TIMEOUT = 0.25  # seconds; who is slower says nothing this time
QUESTIONS = (("INFO", "server"), ("INFO", "replication"))


@dataclass(frozen=True, slots=True)
class Seen:
    """Who answers at an address, and its part in replication."""

    run_id: str
    replication: Replication


async def nodes_ask(links: NodeLinks, nodes: Iterable[Address]) -> dict[Address, Seen]:
    """Ask them all at once; who does not answer is left out."""
    found: dict[Address, Seen] = {}

    async def ask(node: Address) -> None:
        try:
            server, replication = await links.request_many(node, QUESTIONS, timeout=ASK_TIMEOUT)
            if isinstance(server, Failure) or isinstance(replication, Failure):
                return
            found[node] = Seen(
                read_server(read_fields(server)).run_id, read_replication(read_fields(replication))
            )
        except (NodeFailure, NodeError, InfoError):
            return

    async with trio.open_nursery() as nursery:
        for node in dict.fromkeys(nodes):
            nursery.start_soon(ask, node)
    return found


def seen_of(health: NodeHealth | None) -> Seen | None:
    """What a watched node said last, while it answers."""
    if health is None or not health.verdict.is_answering:
        return None
    server: Server | None = health.server
    if server is None or health.replication is None:
        return None
    return Seen(server.run_id, health.replication)
