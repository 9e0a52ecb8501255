"""What an engine says of itself before slots leave or come. The reading is pure."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shardproxy.failover.interfaces import Nodes
from shardproxy.model import Address
from shardproxy.wire.info import read_fields
from shardproxy.wire.reply import Failure, Reply

TIMEOUT = 2.0  # seconds for all questions to one engine
ASKED: tuple[tuple[str, ...], ...] = (
    ("TIME",),
    ("INFO",),
    ("MODULE", "LIST"),
    ("CONFIG", "GET", "proto-max-bulk-len"),
)


@dataclass(frozen=True, slots=True)
class Survey:
    """One primary. What it would not say is None."""

    address: Address
    engine: str = "redis"  # or valkey
    version: tuple[int, ...] = ()
    keys: int = 0  # in database 0
    databases: tuple[int, ...] = ()  # that have keys
    used: int = 0  # bytes of memory
    dataset: int = 0  # bytes of it that are data
    most: int = 0  # maxmemory in bytes; 0 = no limit
    evicts: str = "noeviction"  # maxmemory-policy
    evicted: int = 0  # keys, since its start
    has_replicas: bool = False
    cpu: float = 0.0  # seconds, since its start
    modules: Mapping[str, int] | None = field(default_factory=dict)  # by name, their versions
    bulk_most: int | None = None  # proto-max-bulk-len in bytes
    clock: float = 0.0  # seconds that its clock is ahead of ours
    clock_error: float = 0.0  # seconds by which that may be wrong

    @property
    def said_version(self) -> str:
        return f"{self.engine} {'.'.join(map(str, self.version)) or 'of an unknown version'}"


async def survey(nodes: Nodes, address: Address) -> Survey:
    """Ask one engine; raise NodeUnreachable, NodeTimeout, NodeError, or InfoError."""
    began = time.time()
    replies = await nodes.request_many(address, ASKED, timeout=TIMEOUT)
    return survey_read(address, replies, began, time.time())


def survey_read(address: Address, replies: Sequence[Reply], began: float, ended: float) -> Survey:
    """Read the replies to ASKED, sent and in at these times; raise InfoError."""
    told, info, modules, config = replies
    fields = read_fields(info)
    half = (ended - began) / 2
    ahead = _seconds(told) - (began + half) if _seconds(told) else 0.0
    known = {int(name[2:]) for name in fields if re.fullmatch(r"db\d+", name)}
    return Survey(
        address,
        engine="valkey" if "valkey_version" in fields else "redis",
        version=_version(fields.get("valkey_version") or fields.get("redis_version", "")),
        keys=_keys(fields.get("db0", "")),
        databases=tuple(sorted(known)),
        used=_number(fields, "used_memory"),
        dataset=_number(fields, "used_memory_dataset"),
        most=_number(fields, "maxmemory"),
        evicts=fields.get("maxmemory_policy", "noeviction"),
        evicted=_number(fields, "evicted_keys"),
        has_replicas=_number(fields, "connected_slaves") > 0,
        cpu=float(fields.get("used_cpu_user", 0)) + float(fields.get("used_cpu_sys", 0)),
        modules=_modules(modules),
        bulk_most=_bulk_most(config),
        clock=ahead,
        clock_error=half,
    )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def _keys(text: str) -> int:
    """`keys=12,expires=3,avg_ttl=0`"""
    found = re.match(r"keys=(\d+)", text)
    return int(found[1]) if found else 0


def _number(fields: Mapping[str, str], name: str) -> int:
    text = fields.get(name, "0")
    return int(text) if text.isdigit() else 0


def _seconds(reply: Reply) -> float:
    """TIME: seconds and microseconds; 0 where it would not say."""
    match reply:
        case [bytes() as seconds, bytes() as micros]:
            return int(seconds) + int(micros) / 1e6
    return 0.0


def _modules(reply: Reply) -> Mapping[str, int] | None:
    """`[[name, vectorset, ver, 1, ...]]`"""
    if isinstance(reply, Failure) or not isinstance(reply, Sequence) or isinstance(reply, str | bytes):
        return None
    found = {}
    for module in reply:
        if isinstance(module, Sequence) and not isinstance(module, str | bytes):
            values = dict(zip(module[::2], module[1::2], strict=False))
            name, version = values.get(b"name"), values.get(b"ver")
            if isinstance(name, bytes) and isinstance(version, int):
                found[name.decode(errors="replace")] = version
    return found


def _bulk_most(reply: Reply) -> int | None:
    match reply:
        case [bytes(), bytes() as value] if value.isdigit():
            return int(value)
    return None
