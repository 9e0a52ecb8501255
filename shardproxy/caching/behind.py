"""Write-behind: the cache has a write at once, and a note of it, in one step; draining/ brings notes on.

    command + note in the slot's stream + mark on the key ─> reply
                                    └─> draining ─> database ─> note and mark go

A key that is marked is not loaded: the database lacks writes of it. Beyond `limit` notes writes wait, and are
then refused: nothing has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import trio

from shardproxy.caching.engines import Call, EngineDownError, EngineRefusedError, Engines, Place
from shardproxy.caching.loading import FIRST_PAUSE, LONGEST_PAUSE, Loading
from shardproxy.caching.names import Names, SlotNames
from shardproxy.caching.plan import Plan
from shardproxy.caching.requests import KeyWrite
from shardproxy.caching.scripts import ENQUEUE
from shardproxy.caching.statistics import CachingStatistics
from shardproxy.caching.writing import CommandError, WriteDoubtError, WriteError, too_few
from shardproxy.wire.reply import Reply, Simple


class Behind:
    """Writes keys, and notes what the database is to have."""

    def __init__(
        self,
        engines: Engines,
        names: Names,
        loading: Loading,
        statistics: CachingStatistics,
        noted: Callable[[SlotNames], None],
    ) -> None:
        self._engines = engines
        self._names = names
        self._loading = loading
        self._statistics = statistics
        self._noted = noted

    async def write(self, plan: Plan, part: KeyWrite, deadline: float) -> Reply:
        """Write one key; the reply to its command. Raise WriteError."""
        names = self._names.of_key(plan.cluster, part.key)
        base, pause = part.base.value, FIRST_PAUSE
        while True:
            why = self._why_too_many(plan)
            reply = await self._try(plan, names, part, base, deadline) if why is None else []
            if reply and reply[0] == b"ok":
                return self._done(plan, names, reply)
            if reply and reply[0] == b"error":
                raise CommandError(cast("bytes", reply[1]).decode("utf-8", "replace"))
            if reply and reply[0] == b"cold":
                outcome = await self._loading.load(plan, part.key)
                if isinstance(outcome, str):
                    raise WriteError(f"not written: {outcome}")
                base = "given" if plan.missing_ms == 0 else base  # that there is no row is not remembered
                continue
            if reply:
                self._noted(names)  # there is something to drain, whoever has written it
                why = f"backlog of {reply[1]!r} writes" if reply[0] == b"full" else "the key is being drained"
            if trio.current_time() + pause >= deadline:
                raise WriteError(f"{why}: not written")
            await trio.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)

    async def _try(
        self, plan: Plan, names: SlotNames, part: KeyWrite, base: str, deadline: float
    ) -> list[Reply]:
        keys = (part.key, names.lease(part.key), names.dirty(part.key), names.stream)
        call = Call(ENQUEUE, keys, (plan.limit, plan.ttl_ms(), base, int(part.only_new), *part.words))
        place = Place(names.cluster, names.slot)
        try:
            replies = await self._engines.evaluate(
                place, call, deadline=deadline, repeats=False, behind=plan.waiting
            )
        except EngineDownError as error:
            if not error.is_doubtful:
                raise WriteError(f"not written: {error}") from error
            self._statistics.rule(plan.cluster, plan.match).doubtful += 1
            self._noted(names)
            raise WriteDoubtError(str(error)) from error
        except EngineRefusedError as error:
            raise WriteError(f"not written, the engine says: {error}") from error
        reply = cast("list[Reply]", replies[0])
        if reply[0] == b"ok" and plan.wait and (why := too_few(replies[1], plan.wait)):
            self._done(plan, names, reply)
            raise WriteDoubtError(why)
        return reply

    def _done(self, plan: Plan, names: SlotNames, reply: list[Reply]) -> Reply:
        _, is_status, answer, is_noted = reply
        if is_noted:
            self._statistics.rule(plan.cluster, plan.match).writes += 1
            self._statistics.cluster(plan.cluster).backlog += 1
            self._noted(names)
        return Simple(cast("bytes", answer).decode()) if is_status else answer

    def _why_too_many(self, plan: Plan) -> str | None:
        backlog = self._statistics.cluster(plan.cluster).backlog
        return f"backlog of {backlog} writes" if backlog >= plan.limit else None
