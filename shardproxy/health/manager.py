"""Whether somebody else manages a node's replication. Pure.

Two managers that do not know each other promote one replica each. So where another one is at work, we watch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from shardproxy.wire.reply import Reply, Verbatim

_NAME = re.compile(r"\bname=(\S+)")


@dataclass(frozen=True, slots=True)
class Survey:
    """What a node was asked about its other visitors."""

    mode: str  # INFO server's
    subscribers: Reply  # PUBSUB NUMSUB of Sentinel's channel
    clients: Reply  # CLIENT LIST


def manager_of(survey: Survey, own_name: str) -> str | None:
    """Who else manages the node, in words, or None. A question it refuses to answer counts as no."""
    if survey.mode == "cluster":
        return "Redis Cluster (the node runs in cluster mode)"
    match survey.subscribers:
        case [bytes(), int() as count] if count > 0:
            return "Sentinel (it listens on the node's hello channel)"
    clients = survey.clients.text if isinstance(survey.clients, Verbatim) else survey.clients
    if isinstance(clients, bytes):
        for name in _NAME.findall(clients.decode(errors="replace")):
            if name.startswith("shardproxy:") and name != own_name:
                return f"another shardproxy that does not share our store ({name})"
    return None
