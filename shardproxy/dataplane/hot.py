"""What is asked for now and by which keys, as frozen values. Rates are of the last 15 to 30 seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class HotKey:
    """A key that much is asked of. What came before it was known to be one is not in its rates."""

    key: bytes  # at most 128 bytes of it
    is_cut: bool  # it has more
    slot: int | None  # None where nodes are found otherwise: memcached
    shard: int | None  # its number; None: it is gone
    requests_per_second: float
    bytes_per_second: float  # of requests and replies
    share: float  # of its shard's requests, 0-1
    reads: float  # of its own requests, 0-1


@dataclass(frozen=True, slots=True)
class HotSlot:
    """A slot that much is asked of."""

    slot: int
    shard: int | None
    requests_per_second: float
    share: float  # of its shard's requests, 0-1


@dataclass(frozen=True, slots=True)
class HotFamily:
    """Keys that differ in ids, numbers and names only, or of one declared family."""

    family: str
    requests_per_second: float
    bytes_per_second: float
    share: float  # of the cluster's requests, 0-1
    reads: float
    shards: Mapping[int, float]  # of each shard's requests, by its number


@dataclass(frozen=True, slots=True)
class Hot:
    """What is hot in a cluster, of all workers together; each list has the most first."""

    seconds: float = 0.0  # that the rates are of
    sample: int = 0  # one of so many requests was looked at; 0 = none is
    sampled: int = 0  # how many that were
    by_requests: tuple[HotKey, ...] = ()
    by_bytes: tuple[HotKey, ...] = ()
    slots: tuple[HotSlot, ...] = ()
    families: tuple[HotFamily, ...] = field(default=())

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Hot:
        """Take the native module's plain values; raise KeyError when one is missing."""
        return cls(
            seconds=values["seconds"],
            sample=values["sample"],
            sampled=values["sampled"],
            by_requests=tuple(_key(one) for one in values["by_requests"]),
            by_bytes=tuple(_key(one) for one in values["by_bytes"]),
            slots=tuple(HotSlot(**one) for one in values["slots"]),
            families=tuple(_family(one) for one in values["families"]),
        )


@dataclass(frozen=True, slots=True)
class BigKey:
    """A key that a large request or reply was about, within the last hour."""

    key: bytes
    is_cut: bool
    slot: int | None
    shard: int | None
    command: str
    request_bytes: int  # of the largest
    reply_bytes: int
    at: float  # seconds since 1970: when that was


def big_read(values: list[Mapping[str, Any]]) -> tuple[BigKey, ...]:
    """The same of the native module's plain values, the largest first."""
    return tuple(BigKey(**{**one, "key": _bytes(one["key"])}) for one in values)


def _key(values: Mapping[str, Any]) -> HotKey:
    return HotKey(**{**values, "key": _bytes(values["key"])})


def _family(values: Mapping[str, Any]) -> HotFamily:
    return HotFamily(**{**values, "shards": {int(shard): share for shard, share in values["shards"].items()}})


def _bytes(text: str) -> bytes:
    """A key comes as the characters that have its bytes' numbers."""
    return text.encode("latin-1")
