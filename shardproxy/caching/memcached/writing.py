"""Write-through before memcached: the database commits first, then the cache has it.

    statement, not committed ─> hold: a mark (WRITING) in place of the value ─> COMMIT ─> publish: the value,
    if the mark is ours still; else the key is cold

While the mark is there nobody loads the key. It is made after the statement has the row locked: of two
writers, over all proxies, the later one at the row makes the later mark, and the earlier one's value is not
published over it. No COMMIT begins later than half a mark's life after it was made.

What a client hears: an error (nothing has changed); what memcached says when it is done; or INDOUBT, when
COMMIT was not answered.
"""

from __future__ import annotations

from functools import partial

import structlog
import trio

from shardproxy.caching.engines import EngineDownError, EngineRefusedError
from shardproxy.caching.loading import FIRST_PAUSE
from shardproxy.caching.memcached.items import Item, Items, Mark, lease_seconds, lifetime, request
from shardproxy.caching.memcached.requests import Done, KeyWrite, Result, Verb
from shardproxy.caching.plan import Plan
from shardproxy.caching.settling import Settling
from shardproxy.caching.sources.interface import Operation, SourceError, SourceRefusedError
from shardproxy.caching.statistics import CachingStatistics
from shardproxy.caching.writing import CommandError, WriteDoubtError, WriteError, why_doubtful
from shardproxy.config.caching import WriteMode

HELD_WITHIN = 2.0  # seconds for the node to have the mark
PUBLISHED_WITHIN = 3.0
FORGOTTEN_WITHIN = 60.0
APPENDS = {Verb.APPEND: b"MA", Verb.PREPEND: b"MP"}
NEEDS = {Verb.ADD: False, Verb.REPLACE: True, Verb.APPEND: True, Verb.PREPEND: True}  # a value to be there

log = structlog.get_logger()


class _Stop(Exception):  # noqa: N818  # no error: an answer
    """Nothing is to be done: the client's condition does not hold."""

    def __init__(self, done: Done) -> None:
        super().__init__(done.name)
        self.result = Result(done)


class MemcachedWriting:
    """Writes keys through, or into the cache alone where their rule writes nothing."""

    def __init__(self, items: Items, nursery: trio.Nursery, statistics: CachingStatistics) -> None:
        self._items = items
        self._nursery = nursery
        self._statistics = statistics
        self._settling = Settling(nursery)

    async def write(self, cluster: str, plan: Plan | None, write: KeyWrite) -> Result:
        """Write one key; raise WriteError."""
        try:
            if plan is None or plan.mode is WriteMode.NONE or (_deletes(write) and not plan.deletes):
                deadline = trio.current_time() + HELD_WITHIN + PUBLISHED_WITHIN
                return await self._plain(cluster, write, deadline)
            return await self._counted(plan, write)
        except _Stop as stop:
            return stop.result
        except EngineRefusedError as error:
            raise CommandError(str(error)) from error
        except EngineDownError as error:
            kind = WriteDoubtError if error.is_doubtful else WriteError
            raise kind(f"not written: {error}") from error

    # --- both ---

    async def _counted(self, plan: Plan, write: KeyWrite) -> Result:
        if write.verb in APPENDS:
            raise WriteError(f"{write.verb.value} is refused for keys that are kept in a database")
        counts = self._statistics.rule(plan.cluster, plan.match)
        began = trio.current_time()
        try:
            result = await self._through(plan, write, began + plan.patience)
        except WriteDoubtError:
            counts.doubtful += 1
            raise
        except SourceError as error:
            raise WriteError(f"not written: {error}") from error
        except EngineDownError as error:
            raise WriteError(f"not written: {error}") from error
        counts.writes += 1
        counts.write_times.add(trio.current_time() - began)
        return result

    async def _through(self, plan: Plan, write: KeyWrite, deadline: float) -> Result:
        """Raise SourceError, EngineDownError or WriteError: nothing has changed; WriteDoubtError."""
        before = await self._items.look(plan.cluster, write.key, deadline)
        await _check(plan, write, before)
        op: Operation = "delete" if _deletes(write) else "upsert"
        is_committing, held = False, None
        try:
            given = plan.rule.given_text(write.value) if op == "upsert" else {}
            with trio.fail_after(plan.write_within):
                async with plan.writing(write.key, op, given) as statement:
                    at = trio.current_time()
                    held = await self._hold(plan, write, deadline)
                    if trio.current_time() - at > plan.lease_ms / 2000:
                        raise WriteError("not written: it took longer than its lease")
                    is_committing = True
                    await statement.commit()
        except BaseException as error:
            is_refused = isinstance(error, SourceRefusedError)  # by COMMIT: a constraint is checked then
            if held is not None and (not is_committing or is_refused):
                await self._give_back(plan, write.key, held)
            if is_refused:
                raise WriteError(f"refused: {error}") from error
            if is_committing and isinstance(error, Exception):  # the mark stays, for as long as it may come
                self._settling.begin(plan, write.key, partial(self._forget, plan.cluster, write.key))
                if not isinstance(error, SourceError | trio.TooSlowError):
                    log.exception("commit failed", cluster=plan.cluster, rule=plan.match)
                why = why_doubtful(error, plan)
                raise WriteDoubtError(f"the database did not say whether it has committed: {why}") from error
            if isinstance(error, SourceError | trio.TooSlowError):
                raise WriteError(f"not written: {why_doubtful(error, plan)}") from error
            raise
        cas = await self._publish(plan, write, held)
        if op == "delete":
            return Result(Done.DELETED if before is not None and before.is_value else Done.NOT_FOUND)
        return Result(Done.STORED, cas)

    async def _hold(self, plan: Plan, write: KeyWrite, deadline: float) -> Item:
        """The mark that is there now instead of the value; raise _Stop where the client's condition fails."""
        seconds, pause = lease_seconds(plan.lease_ms), FIRST_PAUSE
        while True:
            when = [b"MS"]
            if write.cas is not None:
                when = [b"C%d" % write.cas]
            elif write.verb is Verb.ADD:
                now = await self._items.look(plan.cluster, write.key, deadline)
                if now is not None and now.is_value:
                    raise _Stop(Done.NOT_STORED)
                when = [b"ME"] if now is None else [b"C%d" % now.cas]
                if now is not None and now.mark is Mark.WRITING:
                    when = []  # its writer has the row no more, and ends soon
            if when:
                item, is_ours = await self._items.mark(
                    plan.cluster, write.key, Mark.WRITING, seconds, deadline, *when
                )
                if is_ours and item is not None:
                    return item
                if write.cas is not None:
                    raise _Stop(Done.EXISTS if item is not None else Done.NOT_FOUND)
            if trio.current_time() + pause >= deadline:
                raise WriteError("not written: another write of the key has not ended")
            await trio.sleep(pause)

    async def _publish(self, plan: Plan, write: KeyWrite, held: Item | None) -> int:
        """The database has it; the value's cas, or 0 where the cache is cold."""
        assert held is not None, "no commit without a mark"
        deadline = trio.current_time() + PUBLISHED_WITHIN
        words = request(b"md", write.key, b"C%d" % held.cas)
        if not _deletes(write) and write.lives >= 0:
            lives = lifetime(write.lives * 1000 or plan.ttl_ms())
            ways = (b"C%d" % held.cas, b"F%d" % write.flags, b"T%d" % lives, b"c")
            words = request(b"ms", write.key, *ways, data=write.value)
        try:
            reply = await self._items.change(plan.cluster, write.key, words, deadline)
        except EngineDownError:
            self._nursery.start_soon(self._forget, plan.cluster, write.key)
            return 0  # it has the mark, or nothing
        except EngineRefusedError:  # it is too large, or there is no memory
            await self._give_back(plan, write.key, held)
            return 0
        if reply[0] != b"HD":  # the mark has gone: what came in its place may be older
            self._nursery.start_soon(self._forget, plan.cluster, write.key)
            return 0
        return next((int(word[1:]) for word in reply[1:] if word[:1] == b"c"), 0)

    async def _give_back(self, plan: Plan, key: bytes, held: Item) -> None:
        with trio.move_on_after(HELD_WITHIN, shield=True):
            try:
                words = request(b"md", key, b"C%d" % held.cas)
                await self._items.change(plan.cluster, key, words, trio.current_time() + HELD_WITHIN)
            except (EngineDownError, EngineRefusedError):
                return  # it ends by itself

    async def _forget(self, cluster: str, key: bytes) -> None:
        try:
            await self._items.forget(cluster, key, trio.current_time() + FORGOTTEN_WITHIN)
        except (EngineDownError, EngineRefusedError) as error:
            log.warning("a value may be older than the database's", cluster=cluster, why=str(error))

    # --- the cache alone ---

    async def _plain(self, cluster: str, write: KeyWrite, deadline: float) -> Result:
        """A mark is no value to the client; what is being loaded is loaded anew."""
        while True:
            item = await self._items.look(cluster, write.key, deadline)
            value = item if item is not None and item.is_value else None
            if write.cas is not None and (value is None or value.cas != write.cas):
                return Result(Done.NOT_FOUND if value is None else Done.EXISTS)
            if write.verb is Verb.DELETE and value is None:
                if item is None:
                    return Result(Done.NOT_FOUND)
            elif write.verb in NEEDS and NEEDS[write.verb] is not (value is not None):
                return Result(Done.NOT_STORED)
            when = b"ME" if item is None else b"C%d" % item.cas
            reply = await self._items.change(cluster, write.key, _words(write, when), deadline, repeats=False)
            if reply[0] == b"HD":
                if write.verb is Verb.DELETE:
                    return Result(Done.DELETED if value is not None else Done.NOT_FOUND)
                cas = next((int(word[1:]) for word in reply[1:] if word[:1] == b"c"), 0)
                return Result(Done.STORED, cas)
            if trio.current_time() >= deadline:
                raise WriteError("not written: others write the key all the time")
            await trio.sleep(FIRST_PAUSE)


async def _check(plan: Plan, write: KeyWrite, before: Item | None) -> None:
    """What a client asks for beside the write; raise _Stop where it is not so, SourceError."""
    value = before if before is not None and before.is_value else None
    if write.cas is not None:
        if value is None or value.cas != write.cas:
            raise _Stop(Done.NOT_FOUND if value is None else Done.EXISTS)
    elif write.verb in (Verb.ADD, Verb.REPLACE):
        is_there = value is not None or (plan.loads and await plan.load(write.key) is not None)
        if is_there is (write.verb is Verb.ADD):
            raise _Stop(Done.NOT_STORED)


def _deletes(write: KeyWrite) -> bool:
    return write.verb is Verb.DELETE


def _words(write: KeyWrite, when: bytes) -> tuple[bytes | str | int | float, ...]:
    if write.verb is Verb.DELETE:
        return request(b"md", write.key, when)
    how = [when, b"c"]
    if write.verb in APPENDS:
        how.append(APPENDS[write.verb])
    else:
        lives = lifetime(write.lives * 1000) if write.lives >= 0 else -1
        how += [b"F%d" % write.flags, b"T%d" % lives]
    return request(b"ms", write.key, *how, data=write.value)
