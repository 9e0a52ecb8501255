"""Answers the reads and writes that caching rules are about, and has old values refreshed.

    Offloaded with a rule ─┬─ read: its missing keys are loaded ─> pass on ─┬─ engine: a value, or truly none
                           │       └─────────── a write had it cold then ───┘
                           └─ write: key by key, through or behind ─> answer
    CacheAged ─> refresh behind the reader

Every such offload is answered or passed on, whatever becomes of it. Rules are about database 0: others are
passed on. Knows no source and no script.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias
from weakref import WeakKeyDictionary

import structlog
import trio

from shardproxy.caching.aging import Aging
from shardproxy.caching.engines import Call, EngineDownError, EngineRefusedError, Engines, Place
from shardproxy.caching.loading import VANISHES, Found, Loading, Outcome
from shardproxy.caching.names import Names
from shardproxy.caching.plan import Plan, Plans
from shardproxy.caching.queues import KeyQueues, Places
from shardproxy.caching.requests import (
    Join,
    KeyWrite,
    NotSupportedError,
    Write,
    finds_part,
    keys_read,
    write_of,
)
from shardproxy.caching.scripts import PROBE
from shardproxy.caching.sources.interface import Source
from shardproxy.caching.statistics import CachingStatistics
from shardproxy.caching.writing import ENDS, NOT_READY, CommandError, WriteDoubtError, WriteError, too_few
from shardproxy.config.caching import WriteMode
from shardproxy.dataplane import CacheAged, Event, Offloaded
from shardproxy.model import Engine
from shardproxy.wire.reply import OK, Failure, Reply, Simple, reply_encode
from shardproxy.wire.resp import Argument

WRITES = 8192  # keys that are written, or wait for their turn, at once
SHOWN = 200  # characters of a reason; a database may say more than is of use
KNOWN_WITHIN = 2.0  # seconds for the rules of a cluster to be known
KNOWN_POLL = 0.01  # seconds at first: then seldom, as many may wait, for sources that never open
KNOWN_POLL_MOST = 0.2
UNKNOWN = 4096  # requests that wait for that at once
LOOKS = 16  # at a key that is written, or vanishes, whenever it has been found or loaded
FED = 65536  # keys of reads of many that are loaded, or wait for it, at once
PLAIN_WITHIN = 5.0  # seconds for a key of a request that no rule writes

log = structlog.get_logger()

KeyWriter: TypeAlias = Callable[[Plan, KeyWrite, float], Awaitable[Reply]]


class CachingFacade(Protocol):
    """The part of the data plane that caching uses."""

    def answer(self, token: int, reply: bytes) -> None: ...

    def pass_on(self, token: int, absent: Sequence[bytes] | None = None) -> None: ...


@dataclass(slots=True)
class _Read:
    """A read that waits for so many of its keys."""

    offload: Offloaded
    left: int = 0
    why: str | None = None
    absent: list[bytes] = field(default_factory=list)  # keys that have no value


@dataclass(slots=True)
class Service:
    """What comes of the data plane's events that are about caching."""

    dataplane: CachingFacade
    plans: Plans
    engines: Engines
    names: Names
    loading: Loading
    aging: Aging
    writers: dict[WriteMode, KeyWriter]
    nursery: trio.Nursery
    statistics: CachingStatistics
    engine_of: Callable[[str], Engine] = lambda cluster: Engine.REDIS
    others: Mapping[Engine, Callable[[Offloaded], None]] = field(default_factory=dict)  # than those of Redis
    queues: KeyQueues = field(default_factory=lambda: KeyQueues(WRITES))
    turns: WeakKeyDictionary[Source, trio.Semaphore] = field(default_factory=WeakKeyDictionary)
    fed: int = 0  # keys of reads of many
    unknown: int = 0  # requests that wait for the plans of their cluster

    def take(self, event: Event) -> bool:
        """Have an event, if it is about caching."""
        if isinstance(event, CacheAged):
            if (plan := self.plans.of(event.cluster, event.key)) is not None and plan.loads:
                self.aging.look(plan, event.key)
            return True
        if not isinstance(event, Offloaded) or event.rule is None:
            return False
        if event.db != 0:
            self.dataplane.pass_on(event.token)
        elif self.plans.all(event.cluster):
            self._serve(event)
        else:
            self.nursery.start_soon(self._serve_later, event)
        return True

    def _serve(self, offload: Offloaded) -> None:
        self.others.get(self.engine_of(offload.cluster), self._serve_redis)(offload)

    def _serve_redis(self, offload: Offloaded) -> None:
        if (keys := keys_read(offload.args)) is not None:
            self._read(offload, keys)
        else:
            self._write(offload)

    async def _serve_later(self, offload: Offloaded) -> None:
        """The data plane has rules without plans: they are new, or gone, or cannot be served."""
        try:
            await self._known(offload.cluster)
        finally:  # also where caching ends: whoever asks is answered
            self._serve_or_refuse(offload)

    def _serve_or_refuse(self, offload: Offloaded) -> None:
        rules = self.plans.rules(offload.cluster)
        if self.plans.all(offload.cluster):
            self._serve(offload)
        elif not rules:
            self.dataplane.pass_on(offload.token)
        elif (other := self.others.get(self.engine_of(offload.cluster))) is not None:
            other(offload)  # it says so in words of its own
        elif keys_read(offload.args) is not None and self.plans.fails_as_miss(offload.cluster, offload.rule):
            self.dataplane.pass_on(offload.token)
        else:
            self._answer(offload, failure("ERR LOADER", NOT_READY))

    async def _known(self, cluster: str) -> None:
        """Wait, for a while, until there are plans."""
        if self.plans.all(cluster) or self.unknown >= UNKNOWN:
            return
        self.unknown += 1
        pause = KNOWN_POLL
        try:
            with trio.move_on_after(KNOWN_WITHIN):
                while not self.plans.all(cluster):
                    await trio.sleep(pause)
                    pause = min(2 * pause, KNOWN_POLL_MOST)
        finally:
            self.unknown -= 1

    # --- reads ---

    def _read(self, offload: Offloaded, keys: Sequence[bytes]) -> None:
        read = _Read(offload)
        plans = [(key, self.plans.of(offload.cluster, key)) for key in dict.fromkeys(keys)]
        loads = [(key, plan) for key, plan in plans if plan is not None and plan.loads]
        if offload.looks >= LOOKS:
            self._vanishes(offload, [plan for _, plan in loads])
            return
        read.left = len(loads) + 1
        if len(loads) > 1 and self.fed + len(loads) > FED:
            self._answer(offload, failure("ERR LOADER", f"reads wait for {FED} keys already"))
            return
        if len(loads) > 1:
            self.fed += len(loads)
            self.nursery.start_soon(self._feed, read, loads)
            return
        for key, plan in loads:
            self._load(read, plan, key)
        self._one_less(read)

    async def _feed(self, read: _Read, loads: Sequence[tuple[bytes, Plan]]) -> None:
        """Have many keys loaded, of all such reads as many at once as the source has connections."""
        try:
            await self._feed_all(read, loads)
        except trio.Cancelled:
            self._answer(read.offload, failure("ERR LOADER", ENDS))
            raise
        finally:
            self.fed -= len(loads)
        self._one_less(read)

    async def _feed_all(self, read: _Read, loads: Sequence[tuple[bytes, Plan]]) -> None:
        deadline = trio.current_time() + max(plan.patience for _, plan in loads)
        for at, (key, plan) in enumerate(loads):
            assert plan.source is not None, "it loads"
            turns = self.turns.setdefault(plan.source, trio.Semaphore(plan.at_once))
            with trio.move_on_at(deadline) as late:
                await turns.acquire()
            if late.cancelled_caught:
                read.why = f"not all of {len(loads)} keys were loaded within {plan.patience:g} s"
            if read.why is not None:  # of what is left nothing would be told
                read.left -= len(loads) - at
                if not late.cancelled_caught:
                    turns.release()
                return
            self._load(read, plan, key, turns.release)

    def _load(self, read: _Read, plan: Plan, key: bytes, ended: Callable[[], None] = lambda: None) -> None:
        """Have one key of a read loaded."""

        def done(outcome: Outcome) -> None:
            ended()
            if outcome is Found.VALUE and finds_part(read.offload.args):
                self.nursery.start_soon(self._probe, read, key)
                return
            if isinstance(outcome, str) and not plan.fails_as_miss:
                self.statistics.rule(plan.cluster, plan.match).refused += 1
                read.why = outcome
            elif outcome is not Found.VALUE:
                read.absent.append(key)
            self._one_less(read)

        if (why := self.loading.join(plan, key, done)) is not None:
            done(why)

    async def _probe(self, read: _Read, key: bytes) -> None:
        """The key is there: maybe what is asked of it is not."""
        try:
            place = Place(read.offload.cluster, self.names.of_key(read.offload.cluster, key).slot)
            call = Call(PROBE, (key,), read.offload.args)
            (found,) = await self.engines.evaluate(place, call, deadline=trio.current_time() + PLAIN_WITHIN)
            if found == b"nothing":
                read.absent.append(key)
        except (EngineDownError, EngineRefusedError, KeyError):
            read.absent.append(key)  # what the engine says then stands
        finally:
            self._one_less(read)

    def _one_less(self, read: _Read) -> None:
        read.left -= 1
        if read.left:
            return
        if read.why is None:
            self.dataplane.pass_on(read.offload.token, read.absent)
        else:
            self._answer(read.offload, failure("ERR LOADER", read.why))

    def _vanishes(self, offload: Offloaded, plans: Sequence[Plan]) -> None:
        """It was found, or loaded, many times, and never there when the engine was asked."""
        strict = [plan for plan in plans if not plan.fails_as_miss]
        for plan in strict:
            self.statistics.rule(plan.cluster, plan.match).refused += 1
        if strict:
            self._answer(offload, failure("ERR LOADER", VANISHES))
        else:
            self.dataplane.pass_on(offload.token)

    # --- writes ---

    def _write(self, offload: Offloaded) -> None:
        """Stand in line for the keys at once, in the order of requests."""
        try:
            write = write_of(offload.args)
        except NotSupportedError as error:
            name = offload.args[0][:64].decode("utf-8", "replace").upper()
            why = f"{name} is refused for keys that are kept in a database: {error}"
            self._answer(offload, failure("ERR LOADER", why))
            return
        patience = max((plan.patience for plan in self.plans.all(offload.cluster)), default=PLAIN_WITHIN)
        deadline = trio.current_time() + patience
        places = self.queues.enter((offload.cluster, part.key) for part in write.parts)
        if places is None:
            self._answer(offload, failure("ERR LOADER", f"not written: {WRITES} writes wait already"))
        else:
            self.nursery.start_soon(self._in_turn, offload, write, places, deadline)

    async def _in_turn(self, offload: Offloaded, write: Write, places: Places, deadline: float) -> None:
        reply: Reply = failure("ERR INDOUBT", ENDS)
        try:
            reply = await self._parts(offload.cluster, write, places, deadline)
        except Exception as error:  # one write's bug must not end every client's
            log.exception("write failed", cluster=offload.cluster)
            reply = failure("ERR INDOUBT", f"it failed in the proxy: {type(error).__name__}")
        finally:
            places.leave_all()
            self._answer(offload, reply)

    async def _parts(self, cluster: str, write: Write, places: Places, deadline: float) -> Reply:
        """Key by key, each in its turn; where one fails the client hears which were written."""
        replies: list[Reply] = []
        for part in write.parts:
            try:
                await _turn(places, (cluster, part.key), deadline)
                replies.append(await self._part(cluster, part))
            except WriteError as error:
                if (plan := self.plans.of(cluster, part.key)) is not None:
                    self.statistics.rule(cluster, plan.match).refused += 1
                return _failed(write, len(replies), error)
        if write.join is Join.OK:
            return OK
        if write.join is Join.SUM:
            return sum(reply for reply in replies if isinstance(reply, int))
        return replies[0]

    async def _part(self, cluster: str, part: KeyWrite) -> Reply:
        """Write one key; raise WriteError."""
        await self._known(cluster)
        if not self.plans.all(cluster) and self.plans.rules(cluster):
            raise WriteError(NOT_READY)
        plan = self.plans.of(cluster, part.key)
        if (
            plan is None
            or plan.mode is WriteMode.NONE
            or part.is_plain
            or (part.deletes and not plan.deletes)
        ):
            return await self._plain(cluster, part, plan)
        return await self.writers[plan.mode](plan, part, trio.current_time() + plan.patience)

    async def _plain(self, cluster: str, part: KeyWrite, plan: Plan | None) -> Reply:
        """To the engine alone; what is being loaded of the key is loaded anew."""
        names = self.names.of_key(cluster, part.key)
        requests: list[Sequence[Argument]] = [part.words]
        if plan is not None and not part.is_plain:
            requests.insert(0, (b"DEL", names.lease(part.key)))
        waits = self.plans.all(cluster)[:1]
        if waits and (waiting := waits[0].waiting) is not None:
            requests.append(waiting)
        deadline = trio.current_time() + PLAIN_WITHIN
        try:
            replies = await self.engines.request_in_turn(
                Place(cluster, names.slot), requests, deadline=deadline, repeats=False
            )
        except EngineRefusedError as error:
            raise CommandError(str(error)) from error
        except EngineDownError as error:
            kind = WriteDoubtError if error.is_doubtful else WriteError
            raise kind(str(error)) from error
        if len(requests) > 1 and requests[-1][0] == "WAIT":
            why = too_few(replies.pop(), waits[0].wait)
            if why is not None and not isinstance(replies[-1], Failure):
                raise WriteDoubtError(why)
        if isinstance(reply := replies[-1], Failure):
            raise CommandError(reply.text)
        return Simple("OK") if reply == b"OK" else reply

    def _answer(self, offload: Offloaded, reply: Reply) -> None:
        self.dataplane.answer(offload.token, reply_encode(reply, offload.resp))


async def _turn(places: Places, key: Hashable, deadline: float) -> None:
    """Wait until every request before this one is done with the key; raise WriteError."""
    if places.has_turn(key):
        return
    try:
        with trio.fail_at(deadline):
            await places.wait_turn(key)
    except trio.TooSlowError:
        raise WriteError("not written: other writes of the key have not ended") from None


def failure(code: str, why: str) -> Failure:
    """An error reply; whatever a database says, it is one line of some length."""
    text = " ".join(why.split())
    return Failure(f"{code} {text[:SHOWN]}".strip())


def _failed(write: Write, done: int, error: WriteError) -> Failure:
    """What a client hears of a request of which so many keys were written before one was not."""
    if not done:
        return failure(error.code, str(error))
    key = write.parts[done].key[:100].decode("utf-8", "backslashreplace")
    code = error.code or "ERR LOADER"
    return failure(code, f"{done} of {len(write.parts)} keys were written, and then not {key}: {error}")
