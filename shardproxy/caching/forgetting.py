"""Forgets what others have changed in a database: keys that are named, or all that may have been missed.

What may have been missed is old, and no worse: where old values are served each is loaded anew behind its
next reader; elsewhere it is deleted. So it is with what was named while its engine could not be told, or too
few replicas heard of it: the slot is owed, and all of it is forgotten once that can be done.

    changed ─ key by key ─┬─ told
    missed ── all slots ──┴─ not told: these slots are owed ─ again and again ─> all in them is forgotten
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import cast

import structlog
import trio

from shardproxy.caching.engines import Call, EngineDownError, EngineRefusedError, Engines, Place, Process
from shardproxy.caching.leases import Leases
from shardproxy.caching.names import LEASES, Names
from shardproxy.caching.plan import Plan
from shardproxy.caching.scripts import AGE, INVALIDATE
from shardproxy.caching.writing import too_few
from shardproxy.model import SLOT_COUNT
from shardproxy.model.reserved import RESERVED
from shardproxy.nodes import NodeError, NodeFailure
from shardproxy.wire.reply import Failure

WITHIN = 5.0  # seconds for an engine to hear of a key
AT_ONCE = 32  # keys
SCANNED = 1000  # keys in one look
TIMEOUT = 5.0  # seconds for one exchange
PAUSE = 0.01  # seconds between two looks: an engine has others to serve
FIRST_PAUSE = 0.5  # seconds until what is owed is tried again
LONGEST_PAUSE = 10.0
EVERYWHERE = frozenset(range(SLOT_COUNT))

log = structlog.get_logger()


class Forgetting:
    """Makes keys cold, or old."""

    def __init__(
        self, engines: Engines, leases: Leases, names: Names, fresh: Callable[[str, bytes, float], None]
    ) -> None:
        self._engines = engines
        self._leases = leases
        self._names = names
        self._fresh = fresh

    async def forget(
        self, cluster: str, plans: Sequence[Plan], source: str, keys: Sequence[bytes]
    ) -> set[int]:
        """Delete these keys, and have whoever loads one load it again; only those that the source has.

        `plans` are those of all rules of the cluster: the first that matches a key counts. Answers the slots
        of keys of which that is not sure. A primary that did not answer is asked for no more of them: keys
        of others would wait behind it.
        """
        limiter = trio.CapacityLimiter(AT_ONCE)
        owed: set[int] = set()
        silent: set[Process | None] = set()

        async def forget(key: bytes, plan: Plan) -> None:
            async with limiter:
                try:
                    names = self._names.of_key(cluster, key)
                except KeyError:
                    return  # not served any more
                primary = self._engines.primary(Place(cluster, names.slot))
                if primary in silent:
                    owed.add(names.slot)
                    return
                try:
                    deadline = trio.current_time() + WITHIN
                    reached = await self._leases.invalidate(names, key, deadline, plan.waiting)
                    if plan.waiting is None or too_few(reached, plan.wait) is None:
                        return
                except EngineDownError as error:
                    silent.add(primary)
                    log.warning("a change was not told to the cache", cluster=cluster, why=error.detail)
                except EngineRefusedError as error:
                    log.warning("a change was not told to the cache", cluster=cluster, why=error.detail)
                owed.add(names.slot)

        async with trio.open_nursery() as nursery:
            for key in keys:
                if (plan := _plan_of(plans, source, key)) is not None:
                    nursery.start_soon(forget, key, plan)
        return owed

    async def forget_all(
        self, cluster: str, plans: Sequence[Plan], source: str, slots: Collection[int] = EVERYWHERE
    ) -> set[int]:
        """Make all keys of these slots that the source has old, or cold where old values are not served.

        The answer: the slots of which that is not sure.
        """
        count, owed, asked = 0, set(slots), self._engines.slots(cluster)
        for process, its in asked:
            if not owed.intersection(its):
                continue
            try:
                count += await self._forget_at(cluster, process, plans, source, slots)
                owed.difference_update(its)
            except (NodeFailure, NodeError, EngineRefusedError) as error:
                log.warning("values may be older than they look", cluster=cluster, why=str(error))
            except KeyError:
                break  # not served any more
        now = {process.address: its for process, its in self._engines.slots(cluster)}
        for process, its in asked:  # one that moved may have come to who had been asked already
            owed |= set(its).intersection(slots).difference(now.get(process.address, ()))
        if count:
            log.info("values may be older than their database", cluster=cluster, keys=count)
        return owed

    async def _forget_at(
        self, cluster: str, process: Process, plans: Sequence[Plan], source: str, slots: Collection[int]
    ) -> int:
        """How many keys it was; raise NodeFailure, NodeError, EngineRefusedError."""
        cursor, count = b"0", 0
        waiting, wait = next(((plan.waiting, plan.wait) for plan in plans), (None, 0))
        while True:
            (reply,) = await self._engines.request_all(process, [("SCAN", cursor, "COUNT", SCANNED)], TIMEOUT)
            if isinstance(reply, Failure):
                raise EngineRefusedError(reply.text)
            cursor, found = cast("tuple[bytes, list[bytes]]", reply)
            calls = []
            for key in dict.fromkeys(_keys_of(found)):
                plan = _plan_of(plans, source, key)
                if plan is None or (names := self._names.of_key(cluster, key)).slot not in slots:
                    continue
                if plan.rule.serve:
                    calls.append(Call(AGE, (key, names.lease(key)), (plan.rule.serve,)))
                else:
                    calls.append(Call(INVALIDATE, (key, names.lease(key), names.new(key)), ()))
                self._fresh(cluster, key, 0)
            if calls:
                timeout = TIMEOUT + (plans[0].wait_within if waiting is not None else 0)
                replies = await self._engines.evaluate_all(process, calls, timeout, behind=waiting)
                if waiting is not None and (why := too_few(replies.pop(), wait)) is not None:
                    raise EngineRefusedError(why)
                refused = next((reply for reply in replies if isinstance(reply, Failure)), None)
                if refused is not None:
                    raise EngineRefusedError(refused.text)
            count += len(calls)
            if cursor == b"0":
                return count
            await trio.sleep(PAUSE)


class Changes:
    """What one source says of a cluster's keys is forgotten, sooner or later."""

    def __init__(self, forgetting: Forgetting, cluster: str, plans: Sequence[Plan], source: str) -> None:
        self._forgetting = forgetting
        self._cluster = cluster
        self._plans = plans
        self._source = source
        self._owed: set[int] = set()  # slots
        self._news = trio.Event()

    async def changed(self, keys: Sequence[bytes]) -> None:
        self._owe(await self._forgetting.forget(self._cluster, self._plans, self._source, keys))

    async def missed(self) -> None:
        self._owe(await self._forgetting.forget_all(self._cluster, self._plans, self._source))

    def _owe(self, slots: set[int]) -> None:
        if slots:
            self._owed |= slots
            self._news.set()

    async def run(self) -> None:
        """Try what is owed again, until cancelled."""
        pause = FIRST_PAUSE
        while True:
            await self._news.wait()
            await trio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            tried, self._owed, self._news = self._owed, set(), trio.Event()
            self._owe(await self._forgetting.forget_all(self._cluster, self._plans, self._source, tried))
            if not self._owed:
                pause = FIRST_PAUSE


def _keys_of(names: Sequence[bytes]) -> Iterator[bytes]:
    """Keys that are there, and those that are being loaded, or known to have no row."""
    for name in names:
        if name.startswith(LEASES):
            yield name.partition(b"}:")[2]
        else:
            yield name


def _plan_of(plans: Sequence[Plan], source: str, key: bytes) -> Plan | None:
    """That of the key's rule, if the source is where it is loaded from."""
    if key.startswith(RESERVED):
        return None
    plan = next((plan for plan in plans if plan.rule.pattern.fullmatch(key)), None)
    return plan if plan is not None and plan.rule.source == source else None
