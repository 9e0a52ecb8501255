"""Whether a cluster can take what is to come: versions, modules, databases, room, clocks. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from shardproxy.config.sizes import format_size
from shardproxy.importing.facts import Facts
from shardproxy.replication.payloads import is_read, payload_of

MAX_SKEW = 0.5  # seconds: times to live are absolute
EXTRA = 11  # bytes that RESTORE adds to a value
FULL = 0.8  # of maxmemory: from there on it is said

_VERSION = re.compile(r"(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Coming:
    """What is to come."""

    engines: tuple[str, ...]  # as "redis 7.0.15"
    databases: Mapping[int, int]  # keys, by number; of those that count
    bytes: int = 0  # at least so much, 0 = not known
    modules: frozenset[str] | None = None
    values_of: frozenset[str] = frozenset()  # types that modules have, by the names of these types
    longest: int = 0  # bytes of the longest value, 0 = not known
    version: int = 0  # of the RDB, 0 = not known


def rdb_version(engine: str) -> int | None:
    """Of what an engine like "redis 7.0.15" writes; None: not known."""
    found = _VERSION.search(engine)
    if found is None:
        return None
    return payload_of((int(found[1]), int(found[2])), is_valkey=is_valkey(engine))


def is_valkey(engine: str) -> bool:
    return "valkey" in engine.lower()


def why_unreadable(engine: str, target: str) -> str | None:
    """Why a target like "redis 7.0.15" does not read what that engine writes, or None."""
    theirs, ours = rdb_version(engine), rdb_version(target)
    if theirs is None or ours is None:
        return None  # RESTORE says
    if not is_read(theirs, ours, is_same_engine=is_valkey(engine) == is_valkey(target)):
        return f"{target} does not read what {engine} writes: take an engine of that version, or a later one"
    return None


def why_not(coming: Coming, targets: Sequence[Facts], *, replaces: bool) -> Iterator[str]:
    """Why they cannot take it; nothing may be written then."""
    for target in targets:
        known = rdb_version(f"{target.engine} {target.version}")
        if known is not None and coming.version > known:
            yield (
                f"{target.address} is {target.engine} {target.version}, which does not read RDB version"
                f" {coming.version}: take an engine of the version that wrote it, or a later one"
            )
            continue
        for engine in coming.engines:
            if (why := why_unreadable(engine, f"{target.engine} {target.version}")) is not None:
                yield f"{target.address}: {why}"
        if coming.modules and target.modules is not None and (less := coming.modules - target.modules):
            yield f"{target.address} lacks the module {', '.join(sorted(less))}: nor can its values be there"
        if coming.longest + EXTRA > target.max_value:
            yield (
                f"there is a value of {format_size(coming.longest)}, and {target.address} takes"
                f" {format_size(target.max_value)} at most: raise its proto-max-bulk-len"
            )
    if coming.values_of:
        names = ", ".join(sorted(coming.values_of))
        yield f"there are values of the module types {names}, which are not restored: leave them out"
    others = sorted(number for number, keys in coming.databases.items() if number and keys)
    if others and len(targets) > 1:
        said = ", ".join(map(str, others))
        yield (
            f"there are keys in database {said}, and a cluster of {len(targets)} shards has database 0 alone:"
            " take a cluster of one shard, or move them to database 0 first"
        )
    if not replaces:
        held = [(target, sum(target.keys.values())) for target in targets if any(target.keys.values())]
        if held:
            said = ", ".join(f"{target.address} has {keys} keys" for target, keys in held)
            yield f"the cluster is not empty: {said}; empty it (FLUSHALL), or add --replace"
    bounded = all(target.max_memory and not target.evicts for target in targets)
    room = sum(max(0, target.max_memory - target.used_memory) for target in targets)
    if bounded and coming.bytes > room:
        yield f"{format_size(coming.bytes)} are to come, and {format_size(room)} are free: raise maxmemory"


def cautions(coming: Coming, targets: Iterable[Facts]) -> Iterator[str]:
    """What people should know before."""
    targets = tuple(targets)
    for target in targets:
        share = coming.bytes // len(targets)
        if target.max_memory and target.used_memory + share > FULL * target.max_memory:
            does = "evict" if target.evicts else "refuse writes"
            sizes = f"its maxmemory is {format_size(target.max_memory)}, and {format_size(share)} are to come"
            yield f"{target.address} may {does}: {sizes}"


def skews(sources: Iterable[Facts], targets: Sequence[Facts]) -> Iterator[str]:
    """Clocks that are too far apart."""
    for source in sources:
        for target in targets:
            if abs(apart := source.skew - target.skew) > MAX_SKEW:
                yield (
                    f"the clocks of {source.address} and {target.address} are {abs(apart):.1f} s apart, and"
                    " times to live would move by that: have both synchronised (NTP)"
                )
