"""Slots that move between two shards by hand: held, copied, given to the other, deleted where they were."""

from __future__ import annotations

import time
from binascii import crc_hqx
from collections.abc import Callable
from typing import Any

from shardproxy.dataplane.spec import ShardTerms
from shardproxy.fleet import RedisNode
from shardproxy.model import SLOT_COUNT, Hold, SlotRange
from tests.fixtures.clients import Wire
from tests.fixtures.driven import Driven
from tests.fixtures.offload import CLUSTER

MOVING = SlotRange(0, 8191)
STAYING = SlotRange(8192, 16383)
SETTLED = 30.0  # seconds for what is under way to be answered, on a machine that is busy

MIXED = ShardTerms(is_mixed=True)
HELD = ShardTerms(is_mixed=True, hold=Hold((MOVING,)))


def slot_of(key: bytes) -> int:
    start = key.find(b"{")
    end = key.find(b"}", start + 1)
    return crc_hqx(key[start + 1 : end] if start >= 0 and end > start + 1 else key, 0) % SLOT_COUNT


def node(plane: Driven, shard: int) -> RedisNode:
    primary = plane.fleet.shards[shard].primary
    assert isinstance(primary, RedisNode)
    return primary


class Mover:
    """Gives `MOVING` from one shard to the other, and back."""

    def __init__(self, plane: Driven) -> None:
        self.plane = plane
        self.owner = 0
        self.pauses: list[float] = []  # seconds
        self._links = [Wire(node(plane, shard).address) for shard in range(2)]
        self.serve(0, ShardTerms(), ShardTerms())

    def serve(self, owner: int, source: ShardTerms, target: ShardTerms) -> None:
        """Have that shard own what moves; `source` are the terms of the one that owns it now."""
        self.owner = owner
        kept: list[tuple[SlotRange, ...]] = [(), (STAYING,)]
        kept[owner] = (MOVING, *kept[owner])
        terms = [target, target]
        terms[owner] = source
        self.plane.serve_shards((kept[0], terms[0]), (kept[1], terms[1]))

    def move(self, *, gives_up: bool = False, before_publish: Callable[[], None] = lambda: None) -> None:
        """Hold what moves, move it, and let it go on."""
        source = self.owner
        self.serve(source, MIXED, MIXED)
        began = time.monotonic()
        self.serve(source, HELD, MIXED)
        assert self.plane.native.settle(CLUSTER, SETTLED), "what is under way is never answered"
        if gives_up:
            self.serve(source, MIXED, MIXED)
        else:
            keys = self.copy(source)
            before_publish()
            self.serve(1 - source, MIXED, MIXED)
        self.pauses.append(time.monotonic() - began)
        if not gives_up:
            self.ask_many(source, [(b"UNLINK", key) for key in keys])
        self.serve(self.owner, ShardTerms(), ShardTerms())

    def copy(self, source: int) -> list[bytes]:
        """Put all keys that move on the other shard, as they are now; which they are."""
        keys = [key for key in self._links[source].ask("KEYS", "*") if slot_of(key) <= MOVING.last]
        dumps = self.ask_many(source, [(b"DUMP", key) for key in keys])
        times = self.ask_many(source, [(b"PEXPIRETIME", key) for key in keys])
        restores: list[tuple[bytes, ...]] = [
            (b"RESTORE", key, b"%d" % max(0, at), dump, b"REPLACE", b"ABSTTL")
            for key, dump, at in zip(keys, dumps, times, strict=True)
            if dump is not None
        ]
        answers = self.ask_many(1 - source, restores)
        assert all(answer == b"OK" for answer in answers), answers
        return keys

    def ask_many(self, shard: int, requests: list[tuple[bytes, ...]]) -> list[Any]:
        link = self._links[shard]
        link.send(b"".join(packed(words) for words in requests))
        return [link.reply() for _ in requests]

    def strays(self) -> list[bytes]:
        """Keys that are not where they are owned."""
        found = []
        for shard, link in enumerate(self._links):
            for key in link.ask("KEYS", "*"):
                owner = self.owner if slot_of(key) <= MOVING.last else 1
                found += [key] if owner != shard else []
        return found

    def close(self) -> None:
        for link in self._links:
            link.close()


def packed(words: tuple[bytes, ...]) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
