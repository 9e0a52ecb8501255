"""What an engine says of itself that decides whether keys can go from it, or to it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from shardproxy.importing.errors import ForeignError
from shardproxy.model import Address
from shardproxy.model.replication import Replication
from shardproxy.nodes import NodeError, NodeFailure, NodeLinks
from shardproxy.wire.info import InfoError, read_fields, read_replication
from shardproxy.wire.reply import Failure, Reply

ASK_TIMEOUT = 10.0  # seconds
MAX_VALUE = 512 << 20  # bytes; unless an engine says otherwise
QUESTIONS = (
    ("INFO", "server"),
    ("INFO", "replication"),
    ("INFO", "keyspace"),
    ("INFO", "memory"),
    ("TIME",),
    ("MODULE", "LIST"),
    ("INFO", "proxy"),
    ("CONFIG", "GET", "proto-max-bulk-len"),
)


@dataclass(frozen=True, slots=True)
class Facts:
    """One engine, as of now."""

    address: Address
    version: str
    engine: str  # redis or valkey
    mode: str  # standalone, cluster or sentinel
    is_proxy: bool  # of ours
    replication: Replication
    keys: Mapping[int, int] = field(default_factory=dict)  # by number of the database
    used_memory: int = 0  # bytes
    max_memory: int = 0  # bytes; 0 = none
    evicts: bool = False  # when that is reached
    modules: frozenset[str] | None = None  # None: it does not say
    max_value: int = MAX_VALUE  # bytes that it takes as one argument
    skew: float = 0.0  # seconds its clock is ahead of this machine's

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor version."""
        words = [word for word in self.version.split(".") if word.isdigit()]
        return (int(words[0]) if words else 0, int(words[1]) if len(words) > 1 else 0)


async def facts_ask(links: NodeLinks, address: Address) -> Facts:
    """Ask; raise ForeignError."""
    try:
        began = time.time()
        replies = await links.request_many(address, QUESTIONS, timeout=ASK_TIMEOUT)
        halfway = (began + time.time()) / 2
        return facts_read(address, replies, halfway)
    except NodeError as error:
        raise ForeignError(f"{address}: {error.failure.text}") from None
    except NodeFailure as error:
        raise ForeignError(f"{address}: {error.why}") from None
    except InfoError as error:
        raise ForeignError(f"{address}: {error}") from None


def facts_read(address: Address, replies: list[Reply], now: float) -> Facts:
    """Read the replies to `QUESTIONS`, which came at that time; raise InfoError or ForeignError. Pure."""
    server, replication, keyspace, memory, clock, modules, proxy, longest = replies
    for reply in (server, replication):
        if isinstance(reply, Failure):
            raise ForeignError(f"{address}: {reply.text}")
    said = read_fields(server)
    if said.get("redis_mode") == "sentinel":
        raise ForeignError(f"{address} is a Sentinel: write sentinel://{address}/NAME")
    full = {} if isinstance(memory, Failure) else read_fields(memory)
    bases = {} if isinstance(keyspace, Failure) else read_fields(keyspace)
    return Facts(
        address,
        version=said.get("valkey_version") or said.get("redis_version", ""),
        engine="valkey" if "valkey_version" in said else "redis",
        mode=said.get("redis_mode") or said.get("server_mode", "standalone"),
        is_proxy=not isinstance(proxy, Failure) and "proxy_name" in read_fields(proxy),
        replication=read_replication(read_fields(replication)),
        keys={int(name[2:]): _keys(text) for name, text in bases.items() if name[2:].isdigit()},
        used_memory=_number(full.get("used_memory")),
        max_memory=_number(full.get("maxmemory")),
        evicts=full.get("maxmemory_policy", "noeviction") != "noeviction",
        modules=_modules(modules),
        max_value=_max_value(longest),
        skew=_clock(clock, now) - now,
    )


def _keys(text: str) -> int:
    """`keys=12,expires=3,avg_ttl=0`."""
    return _number(text.partition("keys=")[2].partition(",")[0])


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() else 0


def _clock(reply: Reply, otherwise: float) -> float:
    match reply:
        case [bytes() as seconds, bytes() as micros] if seconds.isdigit() and micros.isdigit():
            return int(seconds) + int(micros) / 1e6
    return otherwise


def _max_value(reply: Reply) -> int:
    match reply:
        case [_, bytes() as most] | {b"proto-max-bulk-len": bytes() as most} if most.isdigit():
            return int(most)
    return MAX_VALUE


def _modules(reply: Reply) -> frozenset[str] | None:
    if not isinstance(reply, list):
        return None
    names = []
    for item in reply:
        if isinstance(item, list) and b"name" in item and item.index(b"name") + 1 < len(item):
            name = item[item.index(b"name") + 1]
            names.append(name.decode(errors="replace") if isinstance(name, bytes) else str(name))
    return frozenset(names)
