"""What is said of a backup: its plan, its result, its entry in the manifest. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from shardproxy.archive import Manifest, ShardFile
from shardproxy.backup.nodes import why_slow
from shardproxy.backup.sources import Source
from shardproxy.backup.wants import Wants
from shardproxy.replication.interface import RdbSummary

WARNINGS = 10  # that a result says; the manifest has all


def plan_lines(want: Wants, cluster: str, url: str, sources: Sequence[Source], is_sealed: bool) -> list[str]:
    """What would be done, for people."""
    return [
        f"backup {want.name} of {cluster} to {url}{', encrypted' if is_sealed else ''}",
        *(
            f"shard {source.label}: read from {source.address} ({source.role.value}),"
            f" {size_text(source.look.memory)} in memory"
            for source in sources
        ),
        _fence_line(want, sources),
        *_warning_lines(sources),
    ]


def _warning_lines(sources: Sequence[Source]) -> Iterator[str]:
    """What engines have that a backup cannot keep as well as the rest."""
    for source in sources:
        if modules := ", ".join(source.look.modules):
            yield f"shard {source.label} has modules ({modules}): shardproxy cannot restore values of theirs"
    if unchecked := ", ".join(source.label for source in sources if not source.look.is_checksummed):
        yield f"RDBs without a checksum of their own (rdbchecksum no): of shards {unchecked}"


def _fence_line(want: Wants, sources: Sequence[Source]) -> str:
    if len(sources) == 1:
        return "one shard: all of it is of one moment, and no write waits"
    if not want.fence:
        return "not fenced: each shard is of a moment of its own"
    if (why := why_slow(sources)) is not None:
        return f"not fenced, each shard is of a moment of its own: {why}"
    return "fenced: writes wait until all nodes have forked, which is given up after 500 ms"


def entry_of(source: Source, file: str, found: RdbSummary, size: int, sha256: str) -> ShardFile:
    """A shard's file as the manifest has it; the size and sha256 are those of what is stored."""
    return ShardFile(
        number=source.key.index,
        shard=source.label,
        file=file,
        slots=source.slots,
        node=str(source.address),
        role=source.role.value,
        engine=found.engine or source.look.engine,
        replid=found.replid,
        offset=found.offset,
        bytes=found.bytes,
        sha256=found.sha256,
        stored_bytes=size,
        stored_sha256=sha256,
        keys=found.keys,
        strays=found.strays,
        expires=found.expires,
        functions=found.functions,
        functions_sha256=found.functions_sha256,
        databases=found.databases,
        filled_slots=len(found.keys_per_slot),
        types=dict(found.types),
        rdb_version=found.version,
        is_checked=found.is_checked,
        modules=found.modules,
        longest=found.longest,
    )


def result_of(manifest: Manifest, url: str) -> dict[str, Any]:
    """What the job says when it is done."""
    return {
        "name": manifest.name,
        "to": url,
        "origin": manifest.origin.value,
        "began": manifest.began,
        "ended": manifest.ended,
        "bytes": manifest.stored_bytes,
        "keys": manifest.keys,
        "shards": len(manifest.files),
        "is_fenced": manifest.cut.is_fenced,
        "held": manifest.cut.held,
        "warnings": manifest.warnings[:WARNINGS],
        "text": "; ".join(
            (
                f"{manifest.keys} keys of {len(manifest.files)} shards in {url}",
                cut_text(manifest),
                *manifest.warnings[:WARNINGS],
            )
        ),
    }


def cut_text(manifest: Manifest) -> str:
    """How its shards belong together."""
    cut = manifest.cut
    if not cut.is_fenced:
        return f"each shard at a moment of its own: {cut.why}"
    if len(manifest.files) == 1:
        return "at one moment"
    return f"all shards at one moment, writes held for {cut.held * 1000:.0f} ms"


def size_text(size: float) -> str:
    """Bytes as people read them."""
    units = ("bytes", "KiB", "MiB", "GiB", "TiB")
    power = min(max(0, (int(size).bit_length() - 1) // 10), len(units) - 1)
    return f"{size / 1024**power:.{1 if power else 0}f} {units[power]}"
