"""Answers the reads and writes of memcached's clients that caching rules are about.

    read: its missing keys are loaded ─> looked at again ─> answered     (marks are no values)
    write: key by key, in the order of requests ─> answered

Every such offload is answered, whatever becomes of it. Knows no source.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

import structlog
import trio

from shardproxy.caching.engines import EngineDownError, EngineRefusedError
from shardproxy.caching.loading import VANISHES, Found, Loading, Outcome
from shardproxy.caching.memcached.items import Item, Items, request
from shardproxy.caching.memcached.requests import (
    KeyWrite,
    Read,
    RequestError,
    error,
    is_read,
    missing,
    read_of,
    result,
    values,
    write_of,
)
from shardproxy.caching.memcached.writing import MemcachedWriting
from shardproxy.caching.plan import Plan, Plans
from shardproxy.caching.queues import KeyQueues, Places
from shardproxy.caching.statistics import CachingStatistics
from shardproxy.caching.writing import ENDS, NOT_READY, CommandError, WriteDoubtError, WriteError
from shardproxy.dataplane import Offloaded

WRITES = 8192  # keys that are written, or wait for their turn, at once
LOOKS = 16  # at a key that is written or deleted whenever it has been found or loaded
LOOK_WITHIN = 2.0  # seconds
PLAIN_WITHIN = 5.0  # seconds for the turn of a write that no rule is about

log = structlog.get_logger()


class Answering(Protocol):
    """The part of the data plane that this uses."""

    def answer(self, token: int, reply: bytes) -> None: ...


class _LoadError(Exception):
    """Why a key was not loaded: for the client."""


@dataclass(slots=True)
class MemcachedService:
    """What comes of offloads with a rule, of memcached clusters."""

    dataplane: Answering
    plans: Plans
    items: Items
    loading: Loading
    writing: MemcachedWriting
    nursery: trio.Nursery
    statistics: CachingStatistics
    queues: KeyQueues = field(default_factory=lambda: KeyQueues(WRITES))

    def serve(self, offload: Offloaded) -> None:
        """Answer it, sooner or later; a write has its place in the order of requests at once."""
        try:
            if is_read(offload.args):
                self.nursery.start_soon(self._read, offload, read_of(offload.args))
                return
            write = write_of(offload.args)
        except RequestError as why:
            self._answer(offload, error(str(why)))
            return
        places = self.queues.enter([(offload.cluster, write.key)])
        if places is None:
            self._answer(offload, error(f"SERVER_ERROR LOADER not written: {WRITES} writes wait already"))
        else:
            self.nursery.start_soon(self._write, offload, write, places)

    # --- reads ---

    async def _read(self, offload: Offloaded, read: Read) -> None:
        reply = error(f"SERVER_ERROR LOADER {ENDS}")
        try:
            is_miss = self.plans.fails_as_miss(offload.cluster, offload.rule)
            if self.plans.is_lacking(offload.cluster) and not is_miss:
                raise _LoadError(NOT_READY)
            if offload.args[0] == b"mg":
                reply = await self._meta(offload, read)
            else:
                items = [(key, await self._item(offload.cluster, key)) for key in dict.fromkeys(read.keys)]
                if read.touch is not None:
                    await self._touch(offload.cluster, read.touch, items)
                found = dict(items)
                reply = values(read, [(key, found[key]) for key in read.keys])
        except (_LoadError, EngineDownError) as why:
            reply = error(f"SERVER_ERROR LOADER {why}")
        except EngineRefusedError as why:
            reply = error(str(why))
        except Exception as why:  # one read's bug must not end every client's
            log.exception("read failed", cluster=offload.cluster)
            reply = error(f"SERVER_ERROR LOADER it failed in the proxy: {type(why).__name__}")
        finally:
            self._answer(offload, reply)

    async def _item(self, cluster: str, key: bytes) -> Item | None:
        """What the key has once it is loaded; raise _LoadError, EngineDownError, EngineRefusedError."""
        plan = self.plans.of(cluster, key)
        for _ in range(LOOKS):
            is_loaded = plan is not None and plan.loads
            if plan is not None and is_loaded and not await self._loaded(plan, key):
                return None
            item = await self.items.look(cluster, key, trio.current_time() + LOOK_WITHIN)
            if item is not None and item.is_value:
                return item
            if not is_loaded:
                return None
        raise _LoadError(VANISHES)

    async def _loaded(self, plan: Plan, key: bytes) -> bool:
        """Whether there is something, or was a moment ago."""
        outcome: Outcome = await self.loading.load(plan, key)
        if isinstance(outcome, str) and not plan.fails_as_miss:
            self.statistics.rule(plan.cluster, plan.match).refused += 1
            raise _LoadError(outcome)
        return outcome is Found.VALUE

    async def _touch(self, cluster: str, lives: bytes, items: Sequence[tuple[bytes, Item | None]]) -> None:
        for key, item in items:
            if item is not None:
                words = request(b"mg", key, b"T%b" % lives)
                await self.items.change(cluster, key, words, trio.current_time() + LOOK_WITHIN)

    async def _meta(self, offload: Offloaded, read: Read) -> bytes:
        """What the node says to the command itself, once it has a value."""
        words = (b"mg", offload.args[1], *read.words)
        for _ in range(LOOKS):
            if (item := await self._item(offload.cluster, read.keys[0])) is None:
                return missing(read, offload.args[1])
            deadline = trio.current_time() + LOOK_WITHIN
            (reply,) = await self.items.ask(offload.cluster, read.keys[0], [words], deadline=deadline)
            told = cast("Sequence[bytes]", reply)
            if told[0] == b"VA" and (told[1] or not item.value):
                head = b" ".join((b"VA", b"%d" % len(told[1]), *told[2:]))
                return b"%b\r\n%b\r\n" % (head, told[1])
            if told[0] not in (b"VA", b"EN"):
                return b" ".join(told) + b"\r\n"
        raise _LoadError(VANISHES)

    # --- writes ---

    async def _write(self, offload: Offloaded, write: KeyWrite, places: Places) -> None:
        cluster = offload.cluster
        plan = self.plans.of(cluster, write.key)
        reply = error(f"SERVER_ERROR INDOUBT {ENDS}")
        try:
            await _turn(places, (cluster, write.key), plan.patience if plan is not None else PLAIN_WITHIN)
            plan = self.plans.of(cluster, write.key)  # as configured now
            if plan is None and self.plans.is_lacking(cluster):
                raise WriteError(NOT_READY)
            done = await self.writing.write(cluster, plan, write)
            reply = result(write, done, offload.args[1])
        except CommandError as why:
            reply = error(str(why))
        except WriteError as why:
            if plan is not None:
                self.statistics.rule(cluster, plan.match).refused += 1
            kind = "INDOUBT" if isinstance(why, WriteDoubtError) else "LOADER"
            reply = error(f"SERVER_ERROR {kind} {why}")
        except Exception as why:  # one write's bug must not end every client's
            log.exception("write failed", cluster=cluster)
            reply = error(f"SERVER_ERROR INDOUBT it failed in the proxy: {type(why).__name__}")
        finally:
            places.leave_all()
            self._answer(offload, reply)

    def _answer(self, offload: Offloaded, reply: bytes) -> None:
        self.dataplane.answer(offload.token, reply)


async def _turn(places: Places, key: Hashable, within: float) -> None:
    """Wait until every write before this one is done with the key; raise WriteError.

    Of a key whose database is slow they would take all the places there are, and no key could be written.
    """
    try:
        with trio.fail_after(within):
            await places.wait_turn(key)
    except trio.TooSlowError:
        raise WriteError("not written: other writes of the key have not ended") from None
