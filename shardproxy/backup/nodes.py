"""What is asked of engines for a backup, and the one setting that is changed for its time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

import trio

from shardproxy.backup.sources import Look, Source
from shardproxy.failover.interfaces import Nodes
from shardproxy.model import Address
from shardproxy.model.together import each
from shardproxy.nodes import NodeError, NodeFailure
from shardproxy.wire.info import InfoError, read_fields, read_replication
from shardproxy.wire.reply import Failure, Reply

ASK_WITHIN = 2.0  # seconds
OFFSET_POLL = 0.001  # seconds between looks at a replica that is nearly there
DELAY = "repl-diskless-sync-delay"

NODE_ERRORS = (NodeFailure, NodeError, InfoError)


async def look_at(nodes: Nodes, addresses: Iterable[Address]) -> dict[Address, Look]:
    """What each says of itself, all asked at once; who does not answer is left out."""
    looks: dict[Address, Look] = {}

    async def ask(address: Address) -> None:
        with suppress(*NODE_ERRORS):
            looks[address] = await _look(nodes, address)

    await each(ask, addresses)
    return looks


async def is_forked(nodes: Nodes, address: Address) -> bool:
    """Whether a child saves or rewrites there now."""
    reply, *_ = await nodes.request_many(address, [("INFO", "persistence")], timeout=ASK_WITHIN)
    return _is_forked(read_fields(reply))


async def offset_of(nodes: Nodes, address: Address, timeout: float) -> int:
    """How much of its history a node has."""
    reply, *_ = await nodes.request_many(address, [("INFO", "replication")], timeout=timeout)
    return read_replication(read_fields(reply)).offset


async def wait_offset(nodes: Nodes, address: Address, offset: int, timeout: float) -> None:
    """Return when it has that much; the caller sets a deadline."""
    while await offset_of(nodes, address, timeout) < offset:  # noqa: ASYNC110  # nobody tells
        await trio.sleep(OFFSET_POLL)


async def delays_set(nodes: Nodes, delays: Mapping[Address, int]) -> list[str]:
    """Have nodes wait so many seconds for more readers before they fork; return what went wrong, by node."""
    faults: list[str] = []

    async def set_one(change: tuple[Address, int]) -> None:
        address, delay = change
        try:
            reply, *_ = await nodes.request_many(
                address, [("CONFIG", "SET", DELAY, str(delay))], timeout=ASK_WITHIN
            )
        except NODE_ERRORS as e:
            faults.append(str(e))
            return
        if isinstance(reply, Failure):
            faults.append(f"node {address}: {reply.text:.80}")

    await each(set_one, delays.items())
    return sorted(faults)


def delays_to_change(sources: Iterable[Source]) -> dict[Address, int]:
    """What the nodes have now that would wait before they fork."""
    return {
        source.address: source.look.delay
        for source in sources
        if source.look.delay and source.look.is_diskless
    }


def why_slow(sources: Iterable[Source]) -> str | None:
    """Why nodes may wait before they fork, as nobody can tell; or None."""
    unknown = [str(source.address) for source in sources if source.look.delay is None]
    return f"{', '.join(unknown)} do not tell {DELAY} (CONFIG GET)" if unknown else None


async def _look(nodes: Nodes, address: Address) -> Look:
    requests = [
        ("INFO",),
        ("CONFIG", "GET", "repl-diskless-sync*"),
        ("CONFIG", "GET", "rdbchecksum"),
        ("MODULE", "LIST"),
    ]
    info, config, checksum, modules = await nodes.request_many(address, requests, timeout=ASK_WITHIN)
    fields = read_fields(info)
    if fields.get("loading") == "1":
        raise InfoError("it loads its data")
    settings = _pairs(config)
    delay = settings.get(DELAY, "")
    engine = "valkey" if "valkey_version" in fields else "redis"
    return Look(
        read_replication(fields),
        f"{engine} {fields.get('valkey_version') or fields.get('redis_version', '')}",
        int(fields.get("used_memory_dataset") or fields.get("used_memory") or 0),
        _is_forked(fields),
        int(delay) if delay.isdecimal() else None,
        settings.get("repl-diskless-sync", "yes") != "no",
        _modules(modules),
        _pairs(checksum).get("rdbchecksum") != "no",
    )


def _is_forked(fields: Mapping[str, str]) -> bool:
    return "1" in (fields.get("rdb_bgsave_in_progress"), fields.get("aof_rewrite_in_progress"))


def _modules(reply: Reply) -> tuple[str, ...]:
    """Their names; none where it does not tell."""
    if not isinstance(reply, Sequence) or isinstance(reply, str | bytes):
        return ()
    return tuple(sorted(name for one in reply if (name := _pairs(one).get("name"))))


def _pairs(reply: Reply) -> dict[str, str]:
    if not isinstance(reply, Sequence) or isinstance(reply, str | bytes):
        return {}
    words = [item.decode(errors="replace") if isinstance(item, bytes) else "" for item in reply]
    return dict(zip(words[::2], words[1::2], strict=False))
