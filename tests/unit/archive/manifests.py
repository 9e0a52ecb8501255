"""Manifests for tests."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from shardproxy.archive import Cut, Manifest, Origin, ShardFile
from shardproxy.model import SlotRange


def file_of(number: int, content: bytes = b"", slots: tuple[SlotRange, ...] = ()) -> ShardFile:
    """A shard's file with that content, not encrypted."""
    digest = hashlib.sha256(content).hexdigest()
    return ShardFile(
        number=number,
        shard=str(number),
        file=f"shard-{number:04}-0123abcd.rdb",
        slots=slots,
        node="10.0.0.1:6379",
        role="replica",
        engine="redis 7.0.15",
        replid="a" * 40,
        offset=17,
        bytes=len(content),
        sha256=digest,
        stored_bytes=len(content),
        stored_sha256=digest,
        keys=3,
        strays=0,
        expires=1,
        functions=0,
        functions_sha256="",
        databases=(0,),
        filled_slots=3,
        types={"string": 3},
    )


def manifest_of(name: str = "monday", *files: ShardFile, began: float = 100.0) -> Manifest:
    return Manifest(
        id="0123abcd0123abcd",
        name=name,
        cluster="sessions",
        origin=Origin.MANUAL,
        version="0.0.0",
        began=began,
        ended=began + 1.0,
        cut=Cut(is_fenced=True, held=0.02, at=began),
        files=files or (file_of(0, b"rdb", (SlotRange(0, 16383),)),),
    )


OURS, OTHERS = "0a" * 8, "0b" * 8  # identities of two clusters of one name


def automatic(name: str, began: float, cluster: str = "sessions", *, identity: str = OURS) -> Manifest:
    made = manifest_of(name, began=began)
    return replace(made, origin=Origin.AUTOMATIC, cluster=cluster, cluster_id=identity)
