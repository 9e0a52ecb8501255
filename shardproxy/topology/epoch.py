"""How the topology of a cluster that has no records is numbered, alike by all proxies that share a store."""

from __future__ import annotations

import hashlib
from typing import Any

from shardproxy.model import Topology
from shardproxy.store.changing import note_change
from shardproxy.store.interface import Notebook
from shardproxy.store.notes import NoteKey, NoteKind

FIRST_EPOCH = 1


async def topology_note(current: Topology | None, wanted: Topology, notebook: Notebook) -> Topology:
    """Number a topology: the same shards as now, or as another proxy has them, keep their epoch.

    An epoch is a change. Raise StoreUnavailableError when it cannot be noted.
    """
    if current is not None and wanted.with_epoch(current.epoch) == current:
        return current
    digest, floor = topology_digest(wanted), current.epoch + 1 if current is not None else FIRST_EPOCH
    key = NoteKey(wanted.cluster, NoteKind.EPOCH)
    noted = await note_change(notebook, key, lambda last: epoch_number(last, digest, floor))
    return wanted.with_epoch(noted["epoch"])


def epoch_number(last: Any, digest: str, floor: int) -> dict[str, Any]:
    """The note to leave: `last` is the one there, with the highest epoch that the cluster ever had."""
    before = last["epoch"] if last is not None else 0
    if last is not None and last["digest"] == digest and before >= floor:
        return dict(last)
    return {"epoch": max(floor, before + 1), "digest": digest}


def topology_digest(topology: Topology) -> str:
    """Tells a topology from another, whatever its epoch."""
    return hashlib.sha256(repr(topology.with_epoch(0)).encode()).hexdigest()[:32]
