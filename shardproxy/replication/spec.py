"""What the crate's threads are told, as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable

from shardproxy.replication.interface import Slots


def families_spec(families: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"match": match, "hash": hashed} for match, hashed in families]


def slots_spec(slots: Slots) -> list[tuple[int, int]]:
    return [(one.first, one.last) for one in slots]


def owned_spec(owned: Slots, families: Iterable[tuple[str, str]]) -> bytes:
    """By which rule keys have slots, and which of these are a file's own; none = all."""
    return encoded({"families": families_spec(families), "slots": slots_spec(owned) if owned else None})


def encoded(spec: object) -> bytes:
    return json.dumps(spec).encode()
