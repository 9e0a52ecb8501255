"""Commands that the proxy's user has to be allowed at the nodes, by what the config has it do. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from shardproxy.config import RedisCluster

Request = tuple[str, ...]

# A request of each, as ACL DRYRUN is given it. The key is any: the proxy's user needs all of them.
KEY = "any key"
WATCH: tuple[Request, ...] = (
    ("PING",),
    ("INFO",),
    ("ROLE",),
    ("CONFIG", "GET", "save"),
    ("CLIENT", "SETNAME", "a"),
    ("CLIENT", "LIST"),
    ("PUBSUB", "NUMSUB", "a"),
    ("SLOWLOG", "GET"),
)
FAILOVER: tuple[Request, ...] = (
    ("REPLICAOF", "NO", "ONE"),
    ("FAILOVER", "ABORT"),
    ("CONFIG", "SET", "save", ""),
    ("CONFIG", "REWRITE"),
    ("CLIENT", "KILL", "TYPE", "normal"),
)
WAIT: tuple[Request, ...] = (("WAIT", "1", "1"),)
PERSISTENCE: tuple[Request, ...] = (("MULTI",), ("EXEC",))
CLIENTS: tuple[Request, ...] = (("GET", KEY), ("SET", KEY, "1"), ("SUBSCRIBE", "any channel"))
WAITING: tuple[Request, ...] = (
    ("CLIENT", "TRACKING", "ON"),
    ("TYPE", KEY),
    ("MULTI",),
    ("EXEC",),
    ("XREVRANGE", KEY, "+", "-"),
)
MOVING: tuple[Request, ...] = (
    ("PSYNC", "?", "-1"),
    ("REPLCONF", "ACK", "0"),
    ("SELECT", "0"),
    ("RESTORE", KEY, "0", "a"),
    ("UNLINK", KEY),
    ("TIME",),
    ("FUNCTION", "LIST"),
    ("FUNCTION", "LOAD", "a"),
    ("MODULE", "LIST"),
    ("SCAN", "0"),
)
SHARED: tuple[Request, ...] = (("SCRIPT", "LOAD", "a"), ("SCRIPT", "EXISTS", "a"))
NEAR: tuple[Request, ...] = (
    ("CLIENT", "TRACKING", "ON"),
    ("GET", KEY),
    ("HGETALL", KEY),
    ("PTTL", KEY),
)
CACHING: tuple[Request, ...] = (
    ("EVAL", "return 1", "0"),
    ("EVALSHA", "a", "0"),
    ("GET", KEY),
    ("SET", KEY, "1"),
    ("DEL", KEY),
    ("EXISTS", KEY),
    ("PTTL", KEY),
    ("PEXPIRE", KEY, "1"),
    ("DUMP", KEY),
    ("TIME",),
    ("XLEN", KEY),
)
LARGE: tuple[Request, ...] = (
    ("SCAN", "0"),
    ("TYPE", KEY),
    ("DBSIZE",),
    ("MEMORY", "USAGE", KEY),
    ("STRLEN", KEY),
    ("LLEN", KEY),
    ("SCARD", KEY),
    ("HLEN", KEY),
    ("ZCARD", KEY),
    ("XLEN", KEY),
)
CONTAINERS = frozenset({"CONFIG", "CLIENT", "PUBSUB", "SLOWLOG", "FUNCTION", "MEMORY", "MODULE", "SCRIPT"})


@dataclass(frozen=True, slots=True)
class Need:
    """Requests for one purpose, and whether clients are not served without them."""

    purpose: str
    requests: tuple[Request, ...]
    is_vital: bool = False


def rights_needed(cluster: RedisCluster, *, has_store: bool) -> Iterator[Need]:
    """What the user needs, in the order in which it is missed."""
    yield Need("to watch", WATCH, is_vital=True)
    yield Need("for what clients do", CLIENTS, is_vital=True)
    if not cluster.is_delegated and cluster.failover.enabled:
        yield Need("to fail over", FAILOVER, is_vital=any(len(shard.nodes) > 1 for shard in cluster.shards))
    if cluster.writes.wait:
        yield Need("for writes: {wait}", WAIT, is_vital=True)
    if cluster.persistence is not None:
        yield Need("for persistence", PERSISTENCE, is_vital=True)
    if cluster.near_cache is not None:
        yield Need("for near_cache", NEAR)
    if cluster.caching is not None:
        yield Need("for caching", CACHING, is_vital=True)
    yield Need("for clients that wait in BLPOP and the like", WAITING)
    if not cluster.is_delegated:
        yield Need("to move slots, for backups, restores and imports", MOVING)
        if has_store:
            yield Need("to move slots with a shared store", SHARED)
    yield Need("for bigkeys --scan and plan", LARGE)


def word_of(request: Request) -> str:
    """As ACL SETUSER is told to allow it: `+config|get`."""
    name = request[0].lower()
    return f"+{name}|{request[1].lower()}" if request[0] in CONTAINERS else f"+{name}"


def mend_of(missing: Mapping[Request, str]) -> str:
    """The rules that allow what is missing; `missing` has the node's refusal of each."""
    words = dict.fromkeys(word_of(request) for request in missing)
    if any("permissions to access" in why and "key" in why for why in missing.values()):
        words["~*"] = None
    if any("channel" in why for why in missing.values()):
        words["&*"] = None
    return " ".join(words)
