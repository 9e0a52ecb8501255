"""Loads what reads have missed: one load of a key at a time, here and over all proxies.

    read ─ missed ─> flight of the key ─ claim ─┬─ mine ─> source ─> fill ──────────> all who wait: pass on
      read ─ missed ─> waits ──┘                ├─ there, missing ──────────────────> pass on
      read ─ missed ─> waits ──┘                └─ busy, dirty: somewhere else ─ look again, for a while

`pass on` is: the engine answers. That there is nothing is told to those alone who asked before the engine
was: what it says of an earlier moment may be none of theirs. Who waits here shares the outcome; who waits
elsewhere finds it in the engine. A fill that a write has cancelled is asked for anew.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import structlog
import trio

from shardproxy.caching.engines import EngineDownError, EngineRefusedError
from shardproxy.caching.leases import Claim, Held, Kind, LoadLeases
from shardproxy.caching.names import Names
from shardproxy.caching.plan import STEP, Plan
from shardproxy.caching.sources.interface import SourceError
from shardproxy.caching.statistics import CachingStatistics

FLIGHTS = 4096  # keys that are loaded at once; a source answers but some of them at once
WAITING = 65536  # reads that wait for them
FIRST_PAUSE = 0.005  # seconds between looks at what another proxy loads
LONGEST_PAUSE = 0.1
CANCELLED = 8  # loads of a key in a row that writes cancel
VANISHES = "the key was written, or has vanished, whenever it had been found"


class Found(enum.Enum):
    """What there is of a key."""

    VALUE = "value"  # the engine has it, or has had it a moment ago
    NOTHING = "nothing"  # there is no row


Outcome: TypeAlias = Found | str  # or why it was not loaded
Done: TypeAlias = Callable[[Outcome], None]

log = structlog.get_logger()


@dataclass(slots=True)
class _Flight:
    """One key that is being loaded, and who waits for it."""

    plan: Plan
    waiting: list[Done] = field(default_factory=list)
    early: int = 0  # of these, who waited already when the engine was asked last

    def asks(self) -> None:
        """The engine is asked."""
        self.early = len(self.waiting)


class Loading:
    """The loads of this process."""

    def __init__(
        self, leases: LoadLeases, names: Names, nursery: trio.Nursery, statistics: CachingStatistics
    ) -> None:
        self._leases = leases
        self._names = names
        self._nursery = nursery
        self._statistics = statistics
        self._flights: dict[tuple[str, bytes], _Flight] = {}
        self._waiting = 0

    def join(self, plan: Plan, key: bytes, done: Done) -> str | None:
        """Have a key loaded, and `done` told once; or say at once why not."""
        counts = self._statistics.rule(plan.cluster, plan.match)
        counts.reads += 1
        if self._waiting >= WAITING:
            return f"{WAITING} reads wait already"
        flight = self._flights.get((plan.cluster, key))
        if flight is None:
            if len(self._flights) >= FLIGHTS:
                return f"{FLIGHTS} keys are loaded already"
            flight = self._flights[plan.cluster, key] = _Flight(plan)
            self._nursery.start_soon(self._fly, flight, key)
        else:
            counts.shared += 1
        flight.waiting.append(done)
        self._waiting += 1
        counts.waiting += 1
        return None

    async def load(self, plan: Plan, key: bytes) -> Outcome:
        """As `join`, and wait."""
        told: list[Outcome] = []
        ready = trio.Event()

        def done(outcome: Outcome) -> None:
            told.append(outcome)
            ready.set()

        if (why := self.join(plan, key, done)) is not None:
            return why
        await ready.wait()
        return told[0]

    async def _fly(self, flight: _Flight, key: bytes) -> None:
        plan = flight.plan
        outcome: Outcome = "the proxy stops"
        try:
            while flight.waiting:
                load = load_once(self._leases, self._names, plan, key, self._statistics, flight.asks)
                outcome = await load
                if outcome is not Found.NOTHING:
                    break
                self._tell(flight, outcome, flight.early)
        except Exception as error:  # a bug in one loader must not end all caching
            log.exception("load failed", cluster=plan.cluster, rule=plan.match)
            outcome = f"it failed in the proxy: {type(error).__name__}"
        finally:
            del self._flights[plan.cluster, key]
            self._tell(flight, outcome, len(flight.waiting))

    def _tell(self, flight: _Flight, outcome: Outcome, count: int) -> None:
        """Those who waited first hear what came of it."""
        told, flight.waiting = flight.waiting[:count], flight.waiting[count:]
        self._waiting -= count
        self._statistics.rule(flight.plan.cluster, flight.plan.match).waiting -= count
        for done in told:
            done(outcome)


async def load_once(
    leases: LoadLeases,
    names: Names,
    plan: Plan,
    key: bytes,
    statistics: CachingStatistics,
    asks: Callable[[], None],
) -> Outcome:
    """Load a key, or wait for who does, within the plan's patience; `asks` is called before each request."""
    deadline = trio.current_time() + plan.patience
    counts = statistics.rule(plan.cluster, plan.match)
    pause, cancelled, waits_for = FIRST_PAUSE, 0, ""
    try:
        while cancelled < CANCELLED:
            held = Held.to_load(names.of_key(plan.cluster, key), key)
            asks()
            claim = await leases.claim(held, Kind.COLD, plan.lease_ms, deadline)
            if claim is Claim.MINE:
                found = await load_held(leases, plan, held, Kind.COLD, statistics, asks)
                if found is not None:
                    return found
                counts.cancelled += 1
                cancelled += 1
                continue
            if claim is Claim.MISSING:
                counts.spared += 1
                return Found.NOTHING
            if claim not in WAITS:
                return Found.VALUE
            waits_for = WAITS[claim]
            if trio.current_time() + pause >= deadline:
                return f"{waits_for}, for longer than {plan.patience:g} s"
            await trio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 1.5, LONGEST_PAUSE)
    except (EngineDownError, EngineRefusedError, SourceError) as error:
        return str(error)
    except KeyError:
        return "the cluster is no longer served"
    return f"the key was changed {CANCELLED} times while it was loaded"


WAITS = {Claim.BUSY: "it is loaded or written elsewhere", Claim.DIRTY: "the database lacks writes of it"}


async def load_held(
    leases: LoadLeases,
    plan: Plan,
    held: Held,
    kind: Kind,
    statistics: CachingStatistics,
    asks: Callable[[], None] = lambda: None,
) -> Found | None:
    """Load what we have the lease of; what the cache has by that, None if it had ended. Raise SourceError."""
    counts = statistics.rule(plan.cluster, plan.match)
    began = trio.current_time()
    is_kept = False  # nobody need end the lease
    try:
        loaded = await plan.load(held.key)
        counts.loads += 1
        counts.load_times.add(trio.current_time() - began)
        commands = plan.rule.fill(held.key, loaded) if loaded is not None else []
        deadline = trio.current_time() + STEP
        asks()
        if not commands:
            counts.missing += 1
            is_kept = await leases.missing(held, kind, plan.missing_ms, deadline)
        else:
            is_kept = await leases.fill(held, kind, commands, plan.ttl_ms(), deadline)
        if not is_kept:
            return None
        return Found.VALUE if commands else Found.NOTHING
    except SourceError:
        counts.failures += 1
        raise
    finally:
        if not is_kept:
            await give_back(leases, held)


async def give_back(leases: LoadLeases, held: Held) -> None:
    """Let others have a lease at once: it would end by itself."""
    with trio.move_on_after(GIVE_BACK, shield=True):
        try:
            await leases.release(held, trio.current_time() + GIVE_BACK)
        except (EngineDownError, EngineRefusedError):
            return


GIVE_BACK = 0.5  # seconds
