"""Values are compared in chunks, by what every engine from 5.0 on understands."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from shardproxy.importing.diff.pace import Pace
from shardproxy.importing.diff.values import CHUNK, ChangedError, Values
from shardproxy.wire.reply import Reply
from shardproxy.wire.resp import Argument


@dataclass
class Streams:
    """Two streams on engines of 5.0."""

    ours: list[int]
    theirs: list[int]
    asked: int = 0
    has_field_ttl: bool = False

    async def both(self, *args: Argument) -> tuple[Reply, Reply]:
        return self._reply(self.ours, args), self._reply(self.theirs, args)

    async def a(self, *args: Argument) -> Reply:
        raise NotImplementedError

    async def b(self, requests: object) -> list[Reply]:
        raise NotImplementedError

    def _reply(self, entries: list[int], args: tuple[Argument, ...]) -> Reply:
        if args[0] == "XLEN":
            return len(entries)
        if args[0] == "XINFO":
            return []
        self.asked += 1
        first = args[2]
        assert isinstance(first, bytes)
        if first.startswith(b"("):
            raise ChangedError("ERR Invalid stream ID specified as stream command argument")
        least = 0 if first == b"-" else int(first.split(b"-")[0])
        found = [entry for entry in entries if entry >= least][:CHUNK]
        return [[b"%d-1" % entry, [b"n", b"1"]] for entry in found]


@pytest.mark.parametrize("length", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 3 * CHUNK])
async def test_long_streams_are_compared_to_their_ends(length: int) -> None:
    entries = list(range(1, length + 1))
    sides = Streams(entries, list(entries))
    assert await Values(b"k", sides, Pace(1e9)).why_different(b"stream") is None
    if length:
        other = Streams(entries, [*entries[:-1], length + 7])
        assert await Values(b"k", other, Pace(1e9)).why_different(b"stream") == "entries"
