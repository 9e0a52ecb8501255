"""Write-through: the database commits first, then the cache has it; between the two nobody reads what was.

    lease ─> prepare: the command is done to a copy ─> statement, not committed ─> clear: the key is
    gone, and nobody may load it ─> COMMIT ─> publish: the copy is the key, the lease ends

Order. The lease is one writer's, over all proxies, and ends by itself. A writer that lost it may still be
about to commit; but it looked (`clear`) after its transaction had the key locked and before its COMMIT, so
whoever writes next waits at that lock, and comes after it in the database as in the cache. No COMMIT begins
later than half the lease after that look, so that nobody loads meanwhile what the row was before; once it can
come no more, what was loaded beside a COMMIT that nobody answered is forgotten.

What a client hears: an error of the database (nothing has changed); OK (both have it, or the cache is cold);
or INDOUBT (COMMIT was not answered, or no engine confirms that what was before is gone).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import structlog
import trio

from shardproxy.caching.engines import Call, EngineDownError, EngineRefusedError, Engines, Process
from shardproxy.caching.leases import Claim, Held, Leases, framed
from shardproxy.caching.loading import FIRST_PAUSE, LONGEST_PAUSE, give_back
from shardproxy.caching.names import Names
from shardproxy.caching.plan import Plan
from shardproxy.caching.requests import Base, KeyWrite
from shardproxy.caching.scripts import CLEAR, PREPARE, PUBLISH
from shardproxy.caching.settling import Settling
from shardproxy.caching.sources.interface import SourceError, SourceRefusedError
from shardproxy.caching.statistics import CachingStatistics
from shardproxy.wire.reply import Reply, Simple
from shardproxy.wire.resp import Argument

CLEARED_WITHIN = 2.0  # seconds, WAIT for replicas included
PUBLISHED_WITHIN = 3.0  # seconds; then the client hears how far it got
FORGOTTEN_WITHIN = 60.0  # seconds for a new primary to come
ENDS = "caching has ended meanwhile"  # it begins anew; or the proxy ends, too
NOT_READY = "caching is not ready: its sources are not open"
NOT_NOW = {
    Claim.BUSY: "another write of the key has not ended",
    Claim.DIRTY: "the database lacks earlier writes of the key",
}

log = structlog.get_logger()


class WriteError(Exception):
    """Why a key was not written: the text of an error reply behind its code."""

    code = "ERR LOADER"


class WriteDoubtError(WriteError):
    """It may have been written."""

    code = "ERR INDOUBT"


def too_few(reached: Reply, wanted: int) -> str | None:
    """By the reply to WAIT, why a write is not to be acknowledged."""
    if isinstance(reached, int) and reached >= wanted:
        return None
    return f"fewer than {wanted} replicas have it"


class CommandError(WriteError):
    """The engine's own error, as it words it: a wrong type, a syntax error."""

    code = ""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a command makes of a key."""

    had: bool  # a value before it
    is_same: bool  # as before
    lives_ms: int  # -1: without end
    kind: bytes  # string, hash, none or another type
    value: Reply
    reply: Reply


class Writing:
    """Writes keys through."""

    def __init__(
        self,
        engines: Engines,
        leases: Leases,
        names: Names,
        nursery: trio.Nursery,
        statistics: CachingStatistics,
    ) -> None:
        self._engines = engines
        self._leases = leases
        self._names = names
        self._nursery = nursery
        self._statistics = statistics
        self._settling = Settling(nursery)

    async def write(self, plan: Plan, part: KeyWrite, deadline: float) -> Reply:
        """Write one key; the reply to its command. Raise WriteError."""
        counts = self._statistics.rule(plan.cluster, plan.match)
        began = trio.current_time()
        held = Held.to_write(self._names.of_key(plan.cluster, part.key), part.key)
        try:
            await self._take(plan, held, deadline)
            reply = await self._write(plan, held, part, deadline)
        except WriteDoubtError:
            counts.doubtful += 1
            raise
        except (EngineDownError, SourceError) as error:
            raise WriteError(f"not written: {error}") from error
        except EngineRefusedError as error:
            raise WriteError(f"not written, the engine says: {error}") from error
        counts.writes += 1
        counts.write_times.add(trio.current_time() - began)
        return reply

    async def _take(self, plan: Plan, held: Held, deadline: float) -> None:
        pause = FIRST_PAUSE
        while (claim := await self._leases.write(held, plan.lease_ms, deadline)) is not Claim.MINE:
            if trio.current_time() + pause >= deadline:
                raise WriteError(f"not written: {NOT_NOW[claim]}")
            await trio.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)

    async def _write(self, plan: Plan, held: Held, part: KeyWrite, deadline: float) -> Reply:
        is_over, attempt = False, _Attempt()
        try:
            if part.deletes:
                prepared = Prepared(True, False, -1, b"none", None, None)
            else:
                prepared = await self._prepare(plan, held, part, deadline)
            is_refused = part.only_new and prepared.is_same
            if is_refused or (prepared.kind == b"none" and not prepared.had):
                return prepared.reply
            is_over = True
            if prepared.kind == b"none" and not plan.deletes:  # of the cache alone
                cleared = await self._clear(plan, held)
            else:
                cleared = await self._commit(plan, held, prepared, attempt)
        except BaseException:
            is_over = attempt.is_committing  # then the lease stays, for as long as that may be under way
            raise
        finally:
            if not is_over:
                await give_back(self._leases, held)
        await self._publish(plan, held, prepared, cleared.by)
        return cleared.count if part.deletes else prepared.reply

    async def _prepare(self, plan: Plan, held: Held, part: KeyWrite, deadline: float) -> Prepared:
        """Raise CommandError where the engine refuses the command."""
        reply = await self._try(plan, held, part, part.base.value, (), deadline)
        if reply[0] == b"cold":
            loaded = await plan.load(part.key)
            commands = plan.rule.fill(held.names.new(part.key), loaded) if loaded is not None else []
            reply = await self._try(plan, held, part, "given", commands, deadline)
            had = bool(commands)
        else:
            had = len(reply) > 1 and reply[1] == 1
        if reply[0] == b"error":
            raise CommandError(cast("bytes", reply[1]).decode("utf-8", "replace"))
        if reply[0] != b"ok":
            raise WriteError("not written: it took longer than its lease")
        _, _, is_same, lives, kind, value, is_status, answer = reply
        if is_status:
            answer = Simple(cast("bytes", answer).decode())
        lives_ms, of_type = cast("int", lives), cast("bytes", kind)
        return Prepared(had or part.base is Base.NONE, is_same == 1, lives_ms, of_type, value, answer)

    async def _try(
        self,
        plan: Plan,
        held: Held,
        part: KeyWrite,
        base: str,
        commands: Sequence[Sequence[Argument]],
        deadline: float,
    ) -> list[Reply]:
        keys = (held.key, held.lease, held.names.new(held.key))
        args = (held.token, 2 * plan.lease_ms, base, len(commands), *framed(commands), *part.words)
        replies = await self._engines.evaluate(held.place, Call(PREPARE, keys, args), deadline=deadline)
        return cast("list[Reply]", replies[0])

    async def _commit(self, plan: Plan, held: Held, prepared: Prepared, attempt: _Attempt) -> _Cleared:
        """Raise SourceError, EngineDownError or WriteError: nothing has changed; WriteDoubtError."""
        try:
            op, given = plan.given(prepared.kind, prepared.value)
            with trio.fail_after(plan.write_within):
                async with plan.writing(held.key, op, given) as statement:
                    cleared = await self._clear(plan, held)
                    if trio.current_time() - cleared.at > plan.lease_ms / 2000:
                        raise WriteError("not written: it took longer than its lease")
                    attempt.is_committing = True
                    await statement.commit()
        except SourceRefusedError as error:  # also by COMMIT, where a constraint is checked then
            attempt.is_committing = False
            raise WriteError(f"refused: {error}") from error
        except Exception as error:
            if attempt.is_committing:
                self._settling.begin(plan, held.key, partial(self._forget, held))
                if not isinstance(error, SourceError | trio.TooSlowError):
                    log.exception("commit failed", cluster=plan.cluster, rule=plan.match)
                why = why_doubtful(error, plan)
                raise WriteDoubtError(f"the database did not say whether it has committed: {why}") from error
            if isinstance(error, trio.TooSlowError):
                raise WriteError(f"not written: no answer within {plan.write_within:g} s") from error
            raise
        return cleared

    async def _clear(self, plan: Plan, held: Held) -> _Cleared:
        """Have the key gone, at as many replicas as a write of the cluster waits for."""
        deadline = trio.current_time() + CLEARED_WITHIN + plan.wait_within
        behind = plan.waiting
        at = trio.current_time()
        call = Call(CLEAR, (held.key, held.lease), (held.token, plan.lease_ms))
        replies = await self._engines.evaluate(held.place, call, deadline=deadline, behind=behind)
        if replies[0] == -1:
            raise WriteError("not written: it took longer than its lease")
        if behind is not None and (why := too_few(replies[1], plan.wait)):
            raise WriteError(f"not written: {why}")
        return _Cleared(at, cast("int", replies[0]), self._engines.primary(held.place))

    async def _publish(self, plan: Plan, held: Held, prepared: Prepared, cleared_by: Process | None) -> None:
        """The database has it. Raise WriteDoubtError where an engine may show what was before."""
        ttl = prepared.lives_ms if prepared.lives_ms > 0 else plan.ttl_ms()
        keys = (held.key, held.lease, held.names.new(held.key), held.names.lease(held.key))
        try:
            deadline = trio.current_time() + PUBLISHED_WITHIN
            await self._engines.evaluate(
                held.place, Call(PUBLISH, keys, (held.token, ttl)), deadline=deadline
            )
        except (EngineDownError, EngineRefusedError) as error:
            self._nursery.start_soon(self._forget, held)
            if self._engines.primary(held.place) == cleared_by is not None:
                return  # it is cold there: that was confirmed
            why = f"the database has it, and the cache may show what was before: {error}"
            raise WriteDoubtError(why) from error

    async def _forget(self, held: Held) -> None:
        """Whoever becomes the primary may have missed that the key has gone: have it gone there."""
        try:
            await self._leases.invalidate(held.names, held.key, trio.current_time() + FORGOTTEN_WITHIN)
        except (EngineDownError, EngineRefusedError) as error:
            log.warning(
                "a value may be older than the database's", cluster=held.names.cluster, why=error.detail
            )


def why_doubtful(error: Exception, plan: Plan) -> str:
    """For clients: a source's own words, and of no other error more than its kind."""
    if isinstance(error, trio.TooSlowError):
        return f"no answer within {plan.write_within:g} s"
    return str(error) if isinstance(error, SourceError) else type(error).__name__


@dataclass(slots=True)
class _Attempt:
    """How far a write has come."""

    is_committing: bool = False  # from then on nobody knows, until the database has answered


@dataclass(frozen=True, slots=True)
class _Cleared:
    at: float  # from when on, at the earliest, the lease lasts
    count: int  # of values that went
    by: Process | None
