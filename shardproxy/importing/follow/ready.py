"""Whether a cluster can take in what was found, and what people should know before. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shardproxy.config.sizes import format_size
from shardproxy.importing.facts import Facts
from shardproxy.importing.found import Found, Kind
from shardproxy.importing.readiness import Coming, cautions, skews, why_not
from shardproxy.importing.targets import Owner
from shardproxy.importing.wants import ImportWants
from shardproxy.model.slots import slots_but


def coming_of(found: Found, wants: ImportWants) -> Coming:
    """What is to come: one database."""
    modules = [facts.modules for facts in found.facts.values() if facts.modules is not None]
    number = wants.foreign.database
    return Coming(
        tuple(sorted({f"{facts.engine} {facts.version}" for facts in found.facts.values()})),
        {number: found.keys.get(number, 0)},
        bytes=found.used_memory if wants.match is None else 0,
        modules=frozenset().union(*modules) if modules else None,
    )


def why_not_import(
    found: Found, wants: ImportWants, targets: Sequence[Facts], *, is_ours: bool
) -> Iterator[str]:
    """Why it cannot be; nothing is written then. `is_ours`: what the cluster has may be of this import."""
    for facts in found.facts.values():
        if facts.release < (5, 0):
            yield f"{facts.address} is {facts.version}: before 5.0 scripts are not followed: restore --rdb"
        if any(facts.address == target.address for target in targets):
            yield f"{facts.address} is a node of the cluster itself"
    if found.kind is Kind.PROXY and wants.follows:
        yield f"{wants.foreign} is a proxy, and has no stream of changes to follow: name its nodes"
    if found.kind is Kind.REDIS_CLUSTER and (
        lacking := slots_but(slots for shard in found.shards for slots in shard.slots)
    ):
        yield f"its slots {', '.join(map(str, lacking))} are nobody's: their keys would be left behind"
    yield from skews(found.facts.values(), targets)
    yield from why_not(coming_of(found, wants), targets, replaces=wants.replaces or is_ours)


def lines_of(
    found: Found, wants: ImportWants, owners: Sequence[Owner], cluster: str, targets: Sequence[Facts]
) -> list[str]:
    """The plan, for people."""
    keys = found.keys.get(wants.foreign.database, 0)
    shards = f"{len(found.shards)} shards" if len(found.shards) > 1 else "one shard"
    versions, size = ", ".join(found.versions), format_size(found.used_memory)
    lines = [
        f"import {wants.foreign}: {found.kind.value} of {shards}, {versions}, {keys} keys in {size}",
        f"into the {len(owners)} shards of {cluster}" if len(owners) > 1 else f"into {cluster}",
    ]
    read = [str(shard.nodes[0]) for shard in found.shards]
    alone = [str(shard.primary) for shard in found.shards if not shard.replicas]
    lines.append(f"read from {', '.join(read)}")
    if alone and found.kind is not Kind.PROXY:
        lines.append(f"{', '.join(alone)} has no replica that answers here: its clients feel it more")
    if wants.follows:
        lines.append("changes are followed until shardproxy import finish")
        lines.append("no backup of the cluster is made until then: one job at a time")
        lines.append("write to the old one alone until then: what it has wins")
    else:
        lines.append("one pass: what changes meanwhile may be missed; --follow does not miss it")
    if wants.match is not None:
        lines.append(f"only keys that match {wants.match}")
    if wants.replaces:
        lines.append("what the cluster has, and the old one has not, is deleted")
    others = [str(n) for n, count in sorted(found.keys.items()) if count and n != wants.foreign.database]
    if others:
        lines.append(f"left behind: database {', '.join(others)}; add /{others[0]} to the URL for it")
    return [*lines, *cautions(coming_of(found, wants), targets)]
