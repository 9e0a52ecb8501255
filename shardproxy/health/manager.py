"""Whether somebody else manages a node's replication. Pure.

Two managers that do not know each other promote one replica each. So where another one is at work, we watch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from shardproxy.health.history import History
from shardproxy.wire.reply import Reply, Verbatim

MEMORY = 10.0  # seconds: who managed a node that is gone may still be about to act on the others

_NAME = re.compile(r"\bname=(\S+)")


@dataclass(frozen=True, slots=True)
class Survey:
    """What a node was asked about its other visitors."""

    mode: str  # INFO server's
    subscribers: Reply  # PUBSUB NUMSUB of Sentinel's channel
    clients: Reply  # CLIENT LIST


def decider_name(group: str) -> str:
    """What proxies of a group call their connections to nodes whose replication they may change."""
    return f"shardproxy:{group}"


def observer_name(group: str) -> str:
    """The same, of proxies that may not: nobody has to give way to them."""
    return f"shardproxy-observer:{group}"


def manager_in_force(
    history: History, others: Iterable[History], now: float, *, is_answering: bool
) -> str | None:
    """Who else manages a node, as far as that is still so; `others` are those of its shard that answer.

    A node that is gone cannot be asked again. Who manages it shows on the others too, unless it went away.
    """
    if history.manager is None or history.surveyed_at is None or is_answering:
        return history.manager
    if now - history.surveyed_at > MEMORY:
        return None
    for other in others:
        if other.manager is None and (other.surveyed_at or 0.0) > history.surveyed_at:
            return None
    return history.manager


def manager_of(survey: Survey, group: str, *, is_delegated: bool = False) -> str | None:
    """Who else manages the node, in words, or None. A question it refuses to answer counts as no.

    Where it is delegated Sentinel, or the Redis Cluster, is no stranger; another shardproxy is.
    """
    if survey.mode == "cluster" and not is_delegated:
        return "Redis Cluster (the node runs in cluster mode)"
    match survey.subscribers:
        case [bytes(), int() as count] if count > 0 and not is_delegated:
            return "Sentinel (it listens on the node's hello channel)"
    clients = survey.clients.text if isinstance(survey.clients, Verbatim) else survey.clients
    if isinstance(clients, bytes):
        for name in _NAME.findall(clients.decode(errors="replace")):
            if name.startswith(decider_name("")) and name != decider_name(group):
                return f"another shardproxy that does not share our store ({name})"
    return None
