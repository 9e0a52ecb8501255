"""Where one memcached request goes, and why. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shardproxy.model.text import shown

KEYED = frozenset(
    {"get", "gets", "set", "add", "replace", "append", "prepend", "cas", "incr", "decr", "delete", "touch"}
    | {"mg", "ms", "md", "ma", "me"}
)
MANY = frozenset({"get", "gets", "gat", "gats"})
FAILURES = {
    "miss": "gets would miss and writes fail until it is back (on_failure: miss)",
    "rehash": "the other nodes would take its keys (on_failure: rehash)",
    "gutter": "a spare node would take its keys (on_failure: gutter)",
}


@dataclass(frozen=True, slots=True)
class MemcachedFacts:
    cluster: str
    args: tuple[bytes, ...]
    shards: Mapping[str, int]  # by node
    nodes: Mapping[bytes, str | None]  # by key: who has it now; None: nobody
    down: Mapping[str, str]  # nodes, and why
    action: str  # on_failure
    hashing: str
    limits: Mapping[str, int]
    timeouts: Mapping[str, float]


def keys_of(args: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """The keys of a request."""
    verb = args[0].decode("ascii", "replace").lower()
    if verb in ("gat", "gats"):
        return args[2:]
    if verb in MANY:
        return args[1:]
    return args[1:2] if verb in KEYED else ()


def explain_memcached(facts: MemcachedFacts) -> dict[str, Any]:
    """The same document as of Redis, as far as there is such a thing."""
    parts: dict[str, list[bytes]] = {}
    for key, node in facts.nodes.items():
        parts.setdefault(node or "", []).append(key)
    outcome, text = _decided(facts, parts)
    return {
        "cluster": facts.cluster,
        "request": [shown(word) for word in facts.args],
        "endpoint": "configuration",
        "zone": None,
        "outcome": outcome,
        "text": text,
        "command": {"name": shown(facts.args[0]).lower(), "is_known": True, "route": "node", "note": ""},
        "access": {"user": None, "is_allowed": True, "text": "memcached has no rules about commands"},
        "keys": [
            {
                "key": shown(key),
                "slot": None,
                "tag": None,
                "family": None,
                "shard": facts.shards.get(node or ""),
            }
            for key, node in facts.nodes.items()
        ],
        "more_keys": 0,
        "parts": [_part(node, keys, facts) for node, keys in parts.items()],
        "limits": {
            "request": facts.limits.get("request", 0),
            "timeouts": {name: facts.timeouts.get(name, 0.0) for name in ("connect", "reply")},
        },
        "caching": None,
        "near_cache": None,
        "read_your_writes": None,
        "without_primary": [
            {
                "shard": facts.shards.get(node),
                "label": node,
                "promoted": None,
                "why": "a pool has no replicas",
                "refused": [],
                "reads_go_on_at": [],
                "text": f"{FAILURES.get(facts.action, facts.action)}.",
            }
            for node in parts
            if node
        ],
    }


def _decided(facts: MemcachedFacts, parts: Mapping[str, list[bytes]]) -> tuple[str, str]:
    if not facts.nodes:
        return "served", "it has no key: the proxy answers it, or asks all nodes"
    if set(parts) == {""}:
        return "refused", f"its node is down: {FAILURES.get(facts.action, facts.action)}"
    if len(parts) > 1:
        return "served", f"it is split over {len(parts)} nodes at once"
    node = next(iter(parts))
    return "served", f"{node} has the key, by {facts.hashing}"


def _part(node: str, keys: list[bytes], facts: MemcachedFacts) -> dict[str, Any]:
    return {
        "shard": facts.shards.get(node),
        "label": node or "none",
        "keys": len(keys),
        "outcome": "served" if node else "refused",
        "text": f"{facts.hashing} leads there" if node else "every node it may go to is down",
        "candidates": [node] if node else [],
        "nodes": [{"address": one, "state": "down", "why_not": why} for one, why in facts.down.items()],
    }
