"""Asks nodes of a Redis Cluster what they know of it, all at once and without patience."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeAlias

import trio

from shardproxy.model import Address
from shardproxy.nodes import NodeError, NodeFailure, NodeLinks
from shardproxy.topology.sources.cluster.view import View, ViewError, endpoints_read, view_read
from shardproxy.wire.info import InfoError, read_fields, read_server
from shardproxy.wire.reply import Failure

ASK_TIMEOUT = 0.5  # seconds; who is slower says nothing this time
QUESTIONS = (("CLUSTER", "NODES"), ("CLUSTER", "SLOTS"), ("INFO", "server"))
AT_ONCE = 32  # nodes

Said: TypeAlias = "View | str"  # or why there is nothing


async def views_ask(links: NodeLinks, nodes: Iterable[Address]) -> dict[Address, Said]:
    """Ask them, and hear what each says."""
    found: dict[Address, Said] = {}
    limit = trio.CapacityLimiter(AT_ONCE)

    async def ask(node: Address) -> None:
        async with limit:
            found[node] = await view_ask(links, node)

    async with trio.open_nursery() as nursery:
        for node in dict.fromkeys(nodes):
            nursery.start_soon(ask, node)
    return found


async def view_ask(links: NodeLinks, node: Address) -> Said:
    try:
        known, slots, server = await links.request_many(node, QUESTIONS, timeout=ASK_TIMEOUT)
        for reply in (known, slots, server):
            if isinstance(reply, Failure):
                return reply.text
        text = known if isinstance(known, bytes) else b""
        view = view_read(text.decode(errors="replace"), node, endpoints_read(slots, node))
        return replace(view, run_id=read_server(read_fields(server)).run_id)
    except NodeFailure as error:
        return error.why
    except NodeError as error:
        return error.failure.text
    except (InfoError, ViewError) as error:
        return str(error)
