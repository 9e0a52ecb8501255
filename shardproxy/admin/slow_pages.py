"""The pages of where the time goes: what took long, and requests as they pass."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import trio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shardproxy.admin.insight import LinesResponse
from shardproxy.dataplane.timings import Tracing
from shardproxy.insight.slow import SlowRequest, slow_entry, trace_line
from shardproxy.insight.slow_desk import SlowDesk

ENTRIES = 128  # by default, and
MOST_ENTRIES = 4096  # at most
SECONDS = 5.0
MOST_SECONDS = 60.0
LONGEST = 55.0  # a connection to the admin API lives little longer
TRACED = 1000
MOST_TRACED = 100_000
MOST_PATTERN = 1024  # bytes
PAUSE = 0.1  # seconds between looks at what was traced
AT_ONCE = 256  # requests that were traced: all else waits while they are read


class SlowPages:
    """One method a page."""

    def __init__(self, desk: SlowDesk, headers: dict[str, str]) -> None:
        self._desk = desk
        self._headers = headers

    @property
    def routes(self) -> list[Route]:
        return [Route("/api/slowlog", self.slowlog), Route("/api/trace", self.trace)]

    async def slowlog(self, request: Request) -> Response:
        limit = _number(request, "limit", ENTRIES, MOST_ENTRIES)
        if limit is None:
            return self._refuse(400, f"limit is a number from 1 to {MOST_ENTRIES}")
        name = request.query_params.get("cluster")
        if name is not None and name not in self._desk.clusters:
            return self._unknown(name)
        clusters = {}
        for cluster in self._desk.clusters if name is None else (name,):
            threshold = self._desk.threshold(cluster)
            found = await self._desk.slow(cluster, int(limit))
            clusters[cluster] = {
                "threshold_us": None if threshold is None else round(threshold * 1e6),
                "entries": await trio.to_thread.run_sync(_entries, found),
            }
        return JSONResponse({"clusters": clusters}, headers=self._headers)

    async def trace(self, request: Request) -> Response:
        name, pattern = request.query_params.get("cluster"), request.query_params.get("match", "*")
        limit = _number(request, "limit", TRACED, MOST_TRACED)
        seconds = _number(request, "seconds", SECONDS, MOST_SECONDS)
        names = self._desk.clusters
        if name is None and len(names) == 1:
            name = names[0]
        if name not in names:
            return self._unknown(name or "")
        if limit is None or seconds is None or not 1 <= len(pattern.encode()) <= MOST_PATTERN:
            bounds = f"limit is 1-{MOST_TRACED}, seconds up to {MOST_SECONDS:g}, match 1-{MOST_PATTERN} bytes"
            return self._refuse(400, bounds)
        try:
            tracing = self._desk.trace(name, pattern.encode(), int(limit))
        except RuntimeError as error:
            return self._refuse(429, f"{error}: wait until one of them ends")
        lines = _lines(tracing, min(seconds, LONGEST))
        return LinesResponse(request, lines, self._headers)

    def _unknown(self, name: str) -> Response:
        known = ", ".join(self._desk.clusters)
        what = f"there is no cluster {name}" if name else "say which cluster"
        return self._refuse(404, f"{what}: there is {known}")

    def _refuse(self, status: int, why: str) -> Response:
        return JSONResponse({"error": why}, status_code=status, headers=self._headers)


def _entries(found: Sequence[SlowRequest]) -> list[dict[str, object]]:
    return [slow_entry(entry) for entry in found]


def _number(request: Request, name: str, default: float, most: float) -> float | None:
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 < number <= most and (name == "seconds" or number == int(number)) else None


async def _lines(tracing: Tracing, seconds: float) -> AsyncIterator[dict[str, Any]]:
    """What is traced, one by one, and how it ended; whoever goes away ends it, too."""
    until, ended, pause = trio.current_time() + seconds, "limit", PAUSE
    try:
        while True:
            await trio.sleep(min(pause, max(until - trio.current_time(), 0)))
            if ended == "limit" and trio.current_time() >= until:
                ended = "time"
                tracing.stop()
            found = tracing.take(AT_ONCE)
            for request in found.requests:
                yield trace_line(request)
            if found.is_over:
                break
            pause = 0.0 if len(found.requests) == AT_ONCE else PAUSE
        yield {"ended": ended, "seen": found.seen, "dropped": found.dropped}
    finally:
        tracing.close()
