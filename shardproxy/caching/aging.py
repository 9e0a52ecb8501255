"""Values that are older than they should be, or soon will be: each is loaded anew behind whoever reads it.

    hit ─ nobody knows its age ─> PTTL ─> rule.due_in (pure) ─┬─ later ─> not asked about until then
                                                              └─ now ─> claim ─> source ─> fill

A value lives for its time to live, and `stale` more: in the latter it is served, though it is old.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
import trio

from shardproxy.caching.engines import Call, EngineDownError, EngineRefusedError, Engines, Place
from shardproxy.caching.leases import Claim, Held, Kind, Leases
from shardproxy.caching.loading import load_held
from shardproxy.caching.names import Names
from shardproxy.caching.plan import Plan
from shardproxy.caching.rules import Age
from shardproxy.caching.scripts import KEEP
from shardproxy.caching.sources.interface import SourceError, SourceRefusedError
from shardproxy.caching.statistics import CachingStatistics

REFRESHES = 1024  # at once; beyond, values are asked about again later
GONE = -2  # what PTTL says of a key that is not there
RETRY = 1.0  # seconds until one that could not be refreshed is tried again
WITHIN = 2.0  # seconds for the engine

Fresh = Callable[[str, bytes, float], None]  # cluster, key, seconds: not to be asked about before

log = structlog.get_logger()


class Aging:
    """The refreshes of this process."""

    def __init__(
        self,
        engines: Engines,
        leases: Leases,
        names: Names,
        nursery: trio.Nursery,
        fresh: Fresh,
        statistics: CachingStatistics,
    ) -> None:
        self._engines = engines
        self._leases = leases
        self._names = names
        self._nursery = nursery
        self._fresh = fresh
        self._statistics = statistics
        self._under_way: set[tuple[str, bytes]] = set()

    def look(self, plan: Plan, key: bytes) -> None:
        """A value was served whose age nobody knows."""
        if (plan.cluster, key) in self._under_way or len(self._under_way) >= REFRESHES:
            return
        self._under_way.add((plan.cluster, key))
        self._nursery.start_soon(self._look, plan, key)

    async def _look(self, plan: Plan, key: bytes) -> None:
        seconds = RETRY
        try:
            seconds = await self._tend(plan, key)
        except (EngineDownError, EngineRefusedError, SourceError):
            pass  # counted; the value is served as long as it lives
        except KeyError:
            return  # not served any more
        except Exception:  # a bug in one loader must not end all caching
            log.exception("refresh failed", cluster=plan.cluster, rule=plan.match)
        finally:
            self._under_way.discard((plan.cluster, key))
        self._fresh(plan.cluster, key, seconds)

    async def _tend(self, plan: Plan, key: bytes) -> float:
        """Refresh a value that is due; the seconds until it is worth another look."""
        names = self._names.of_key(plan.cluster, key)
        place = Place(names.cluster, names.slot)
        left = await self._engines.request(place, "PTTL", key, deadline=trio.current_time() + WITHIN)
        if not isinstance(left, int) or left == GONE:
            return 0.0
        if (due_in := plan.rule.due_in(left)) > 0:
            return due_in / 1000
        counts = self._statistics.rule(plan.cluster, plan.match)
        counts.stale += plan.rule.age(left) is Age.STALE
        held = Held.to_load(names, key)
        claim = await self._leases.claim(held, Kind.REFRESH, plan.lease_ms, trio.current_time() + WITHIN)
        if claim is not Claim.MINE:
            return 0.0 if claim is Claim.GONE else RETRY
        try:
            if await load_held(self._leases, plan, held, Kind.REFRESH, self._statistics) is not None:
                counts.refreshes += 1
        except SourceRefusedError:
            raise  # it answers, and has nothing good to say of this key
        except SourceError:
            if plan.keeps_stale:
                call = Call(KEEP, (key,), (plan.rule.serve,))
                await self._engines.evaluate(place, call, deadline=trio.current_time() + WITHIN)
            raise
        return 0.0  # what it is now is looked at once it is read
