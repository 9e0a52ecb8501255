"""Records as plain JSON values and back. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from shardproxy.model import Address, Hold, SlotRange
from shardproxy.model.replication import Lineage, ShardKey
from shardproxy.store.record import Flapping, Promise, ShardRecord, ShardState


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
        "name": record.name,
        "slots": _slots_encode(record.slots),
        "promise": _promise_encode(record.promise),
        "pending": [_promise_encode(promise) for promise in record.pending],
        "replaced": {str(node): run_id for node, run_id in record.replaced},
        "floor": record.floor,
        "flapping": [record.flapping.wait, record.flapping.since] if record.flapping else None,
        "changed": record.changed,
        "lineage": [lineage.replid, lineage.replid2, lineage.second_offset] if lineage else None,
        "histories": list(record.histories),
        "run_id": record.run_id,
        "processes": {str(node): run_id for node, run_id in record.processes},
        "hold": [_slots_encode(hold.slots), hold.only_writes] if (hold := record.hold) else None,
        "generation": record.generation,
        "mixed": record.is_mixed,
    }


def record_decode(values: Mapping[str, Any], revision: int) -> ShardRecord:
    """Raise ValueError when the values are not a record's."""
    try:
        values = values if "promise" in values else _of_format_1(values, revision)
        lineage, flapping = values["lineage"], values["flapping"]
        return ShardRecord(
            key=ShardKey(str(values["cluster"]), int(values["shard"])),
            epoch=int(values["epoch"]),
            state=ShardState(values["state"]),
            primary=_address(values["primary"]),
            nodes=tuple(Address.parse(node) for node in values["nodes"]),
            joined=tuple(Address.parse(node) for node in values["joined"]),
            last=_address(values["last"]),
            target=_address(values["target"]),
            name=str(values["name"]) if values["name"] is not None else None,
            slots=_slots_decode(values["slots"]),
            promise=_promise_decode(values["promise"]),
            pending=tuple(_promise_decode(promise) for promise in values["pending"]),
            replaced=tuple((Address.parse(node), str(run_id)) for node, run_id in values["replaced"].items()),
            floor=int(values["floor"]),
            flapping=Flapping(float(flapping[0]), float(flapping[1])) if flapping else None,
            changed=int(values["changed"]),
            lineage=Lineage(str(lineage[0]), str(lineage[1]), int(lineage[2])) if lineage else None,
            histories=tuple(map(str, values.get("histories", ()))),
            run_id=str(values["run_id"]),
            processes=tuple(
                (Address.parse(node), str(run_id)) for node, run_id in values.get("processes", {}).items()
            ),
            hold=Hold(_slots_decode(hold[0]), bool(hold[1])) if (hold := values.get("hold")) else None,
            generation=int(values.get("generation", 0)),
            is_mixed=bool(values.get("mixed", False)),
            revision=revision,
        )
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"not a shard's record: {error!r}") from error


def _of_format_1(values: Mapping[str, Any], revision: int) -> dict[str, Any]:
    """Every member vouched then, in sync or not."""
    voters = [node for node in values["joined"] if node not in (values["primary"], values["last"])]
    promise = {"voters": voters, "wait": values["wait"]}
    later: dict[str, Any] = {
        "name": None,
        "slots": [],
        "pending": [],
        "replaced": {},
        "floor": 0,
        "flapping": None,
        "changed": revision,
    }
    return {**later, **values, "promise": promise}


def _promise_encode(promise: Promise) -> dict[str, Any]:
    return {"voters": sorted(map(str, promise.voters)), "wait": promise.wait}


def _promise_decode(values: Mapping[str, Any]) -> Promise:
    return Promise(frozenset(Address.parse(node) for node in values["voters"]), int(values["wait"]))


def _slots_encode(slots: tuple[SlotRange, ...]) -> list[list[int]]:
    return [[one.first, one.last] for one in slots]


def _slots_decode(values: Iterable[Any]) -> tuple[SlotRange, ...]:
    return tuple(SlotRange(int(first), int(last)) for first, last in values)


def _text(address: Address | None) -> str | None:
    return str(address) if address else None


def _address(text: str | None) -> Address | None:
    return Address.parse(text) if text else None
