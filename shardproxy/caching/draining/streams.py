"""Notes and leases at the engines: each slot's stream of notes, and the lease of whoever drains it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import structlog
import trio

from shardproxy.caching.draining.rounds import Note, Round, Taken, Work
from shardproxy.caching.engines import (
    TIMEOUT,
    Call,
    EngineDownError,
    EngineRefusedError,
    Engines,
    Place,
    Process,
)
from shardproxy.caching.names import SlotNames
from shardproxy.caching.scripts import ACK, BURY, HOLD, RELEASE, TAKE
from shardproxy.caching.statistics import CachingStatistics
from shardproxy.nodes import NodeError, NodeFailure
from shardproxy.wire.reply import Failure, Reply

GROUP = CONSUMER = "shardproxy"  # whoever has the lease is the one consumer
NOTES = 256  # of one slot
MAX_REASON = 500  # characters

log = structlog.get_logger()


class LeaseLostError(Exception):
    """Another proxy may drain the slot."""


class Streams:
    """The streams of all slots; a lease is held under the token of the round."""

    def __init__(self, engines: Engines, statistics: CachingStatistics) -> None:
        self._engines = engines
        self._statistics = statistics

    async def take(self, process: Process, places: Sequence[SlotNames], one: Round) -> None:
        """Take the oldest notes of these slots."""
        args = (one.token, one.lease_ms, NOTES, GROUP, CONSUMER)
        calls = [
            Call(TAKE, (names.stream, names.drain), (*args, one.after.get(names.slot, b"0")))
            for names in places
        ]
        replies = await self._engines.evaluate_all(process, calls, TIMEOUT)
        for names, reply in zip(places, replies, strict=True):
            if isinstance(reply, Failure):
                log.debug("notes not taken", cluster=names.cluster, slot=names.slot, why=reply.text)
                one.failed.add(names.slot)
                continue
            what, *entries = cast("list[Reply]", reply)
            if what == b"busy":
                one.busy.add(names.slot)
            if what != b"ok":
                one.left.discard(names.slot)
                one.after.pop(names.slot, None)
                continue
            notes = tuple(Note.read(entry) for entry in cast("list[Reply]", entries[0]))
            one.taken.append(Taken(names, process, notes))

    async def hold(self, taken: Iterable[Taken], one: Round) -> None:
        """Look whether the leases are ours; raise LeaseLostError."""
        by_process: dict[Process, dict[bytes, None]] = {}
        for each in taken:
            by_process.setdefault(each.process, {})[each.names.drain] = None
        for process, leases in by_process.items():
            calls = [Call(HOLD, (lease,), (one.token, one.lease_ms)) for lease in leases]
            try:
                replies = await self._engines.evaluate_all(process, calls, TIMEOUT)
            except (NodeFailure, NodeError) as error:
                raise LeaseLostError(str(error)) from error
            if any(reply != 1 for reply in replies):
                raise LeaseLostError("another proxy drains it by now")

    async def bury(self, work: Work, reason: str) -> bool:
        """The database will never have it: to the dead letters; whether it got there."""
        names, note, match = work.taken.names, work.note, work.plan.match
        keys = (names.stream, names.dead, names.dirty(note.key), note.key, names.lease(note.key))
        call = Call(BURY, keys, (note.id, GROUP, " ".join(reason.split())[:MAX_REASON]))
        try:
            place = Place(names.cluster, names.slot)
            await self._engines.evaluate(place, call, deadline=trio.current_time() + TIMEOUT)
        except (EngineDownError, EngineRefusedError) as error:
            log.warning("write not buried", cluster=names.cluster, slot=names.slot, why=error.detail)
            return False
        known = self._statistics.cluster(names.cluster)
        known.dead, known.backlog = known.dead + 1, max(0, known.backlog - 1)
        self._statistics.rule(names.cluster, match).buried += 1
        stream = names.dead.decode()
        log.error("write is a dead letter", cluster=names.cluster, rule=match, stream=stream, why=reason)
        return True

    async def acknowledge(self, one: Round) -> None:
        """The database has what is done: the notes go, and the leases."""
        done: dict[int, list[Note]] = {}
        for work in one.done:
            done.setdefault(work.slot, []).append(work.note)
        for process, of_one in _by_process(one.taken).items():
            calls = []
            for taken in of_one:
                notes, names = done.get(taken.names.slot, []), taken.names
                keys = (names.stream, names.drain, *(names.dirty(note.key) for note in notes))
                ids = [note.id for note in notes]
                calls.append(Call(ACK, keys, (one.token, GROUP, *ids)))
            try:
                replies = await self._engines.evaluate_all(process, calls, TIMEOUT)
            except (NodeFailure, NodeError) as error:  # they are brought again
                log.debug("notes not acknowledged", why=str(error))
                one.failed |= {taken.names.slot for taken in of_one}
                continue
            for taken, left in zip(of_one, replies, strict=True):
                if isinstance(left, Failure):
                    log.debug("notes not acknowledged", slot=taken.names.slot, why=left.text)
                    one.failed.add(taken.names.slot)
                elif left == 0:
                    one.left.discard(taken.names.slot)
        for work in one.done:
            known = self._statistics.cluster(work.plan.cluster)
            known.backlog = max(0, known.backlog - 1)

    async def let_go(self, one: Round) -> None:
        """This drainer ends: the next one need not wait for its leases to end."""
        with trio.move_on_after(TIMEOUT, shield=True):
            for process, of_one in _by_process(one.taken).items():
                calls = [Call(RELEASE, (taken.names.drain,), (one.token,)) for taken in of_one]
                try:
                    await self._engines.evaluate_all(process, calls, TIMEOUT)
                except (NodeFailure, NodeError) as error:
                    log.debug("leases not given back", why=str(error))


def _by_process(taken: Iterable[Taken]) -> dict[Process, list[Taken]]:
    found: dict[Process, list[Taken]] = {}
    for one in taken:
        found.setdefault(one.process, []).append(one)
    return found
