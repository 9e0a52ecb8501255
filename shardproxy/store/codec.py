"""Records as plain JSON values and back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shardproxy.model import Address
from shardproxy.model.replication import Lineage, ShardKey
from shardproxy.store.record import ShardRecord, ShardState


def record_encode(record: ShardRecord) -> dict[str, Any]:
    """All of a record but its revision, which is the store's."""
    lineage = record.lineage
    return {
        "cluster": record.key.cluster,
        "shard": record.key.index,
        "epoch": record.epoch,
        "state": record.state.value,
        "primary": _text(record.primary),
        "nodes": [str(node) for node in record.nodes],
        "joined": [str(node) for node in record.joined],
        "last": _text(record.last),
        "target": _text(record.target),
        "wait": record.wait,
        "lineage": [lineage.replid, lineage.replid2, lineage.second_offset] if lineage else None,
        "run_id": record.run_id,
        "processes": {str(node): run_id for node, run_id in record.processes},
    }


def record_decode(values: Mapping[str, Any], revision: int) -> ShardRecord:
    """Raise ValueError when the values are not a record's."""
    try:
        lineage = values["lineage"]
        return ShardRecord(
            key=ShardKey(str(values["cluster"]), int(values["shard"])),
            epoch=int(values["epoch"]),
            state=ShardState(values["state"]),
            primary=_address(values["primary"]),
            nodes=tuple(Address.parse(node) for node in values["nodes"]),
            joined=tuple(Address.parse(node) for node in values["joined"]),
            last=_address(values["last"]),
            target=_address(values["target"]),
            wait=int(values["wait"]),
            lineage=Lineage(str(lineage[0]), str(lineage[1]), int(lineage[2])) if lineage else None,
            run_id=str(values["run_id"]),
            processes=tuple(
                (Address.parse(node), str(run_id)) for node, run_id in values.get("processes", {}).items()
            ),
            revision=revision,
        )
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"not a shard's record: {error!r}") from error


def _text(address: Address | None) -> str | None:
    return str(address) if address else None


def _address(text: str | None) -> Address | None:
    return Address.parse(text) if text else None
