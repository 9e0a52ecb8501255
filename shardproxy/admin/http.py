"""The admin pages as a starlette application. Every answer is worked out anew; only actions change things."""

from __future__ import annotations

from dataclasses import asdict

import structlog
import trio
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from shardproxy.admin.actions import Actions, action_page
from shardproxy.admin.callers import Right
from shardproxy.admin.clients import ClientPages
from shardproxy.admin.collector import scrape
from shardproxy.admin.console import ConsolePages
from shardproxy.admin.gate import RIGHT, Gate, caller_of
from shardproxy.admin.health import why_not_live
from shardproxy.admin.hot import HotPages
from shardproxy.admin.insight import InsightPages
from shardproxy.admin.jobs import JobPages
from shardproxy.admin.slow_pages import SlowPages
from shardproxy.admin.status import Sources
from shardproxy.admin.stream import Stream
from shardproxy.admin.whole import events_now, not_ready_now, process_now, status_now, topology_now
from shardproxy.config.shown import config_text, config_values
from shardproxy.nodes import NodeError, NodeFailure
from shardproxy.store.journal import CAPACITY

LETTERS = 1000  # in one answer
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

log = structlog.get_logger()


def admin_build(sources: Sources, stream: Stream | None = None) -> Starlette:
    """Make the application; nothing is read before a request asks. Somebody has to run `stream`."""
    stream = stream or Stream(sources, HEADERS)
    pages = Pages(sources)
    actions = Actions(sources.controls, sources.events, sources.setups, sources.deciders)
    return Starlette(
        routes=[
            *ConsolePages(HEADERS).routes,
            Route("/livez", pages.livez),
            Route("/readyz", pages.readyz),
            Route("/metrics", pages.metrics),
            Route("/api/topology", pages.topology),
            *ClientPages(sources.clients, sources.kill, sources.audit, HEADERS).routes,
            Route("/api/stream", stream.page),
            Route("/api/config", pages.config),
            Route("/api/process", pages.process),
            Route("/api/status", pages.status),
            Route("/api/events", pages.events),
            Route("/api/dead-letters", pages.dead_letters),
            *(
                Route(f"/api/{name}", action_page(name, action, sources.audit, HEADERS), methods=["POST"])
                for name, action in (
                    ("switchover", actions.switchover),
                    ("failover-test", actions.failover_test),
                    ("promote", actions.promote),
                    ("acknowledge", actions.acknowledge),
                    ("pause", actions.pause),
                    ("resume", actions.resume),
                )
            ),
            *JobPages(sources.jobs, sources.audit, HEADERS).routes,
            *InsightPages(sources.insight, HEADERS).routes,
            *HotPages(sources.status, sources.hot, sources.big, HEADERS).routes,
            *SlowPages(sources.slow, HEADERS).routes,
        ],
        middleware=[Middleware(Gate, status=sources.status, audit=sources.audit, headers=HEADERS)],
        exception_handlers={Exception: _failed},
    )


class Pages:
    """One method a page."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._scraping = trio.CapacityLimiter(1)

    async def livez(self, request: Request) -> Response:
        return _probe(list(why_not_live(self._sources.workers())))

    async def readyz(self, request: Request) -> Response:
        return _probe(not_ready_now(self._sources))

    async def metrics(self, request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        text = await scrape(self._sources, encode, self._scraping)
        return Response(text, headers={**HEADERS, "content-type": content_type})

    async def topology(self, request: Request) -> Response:
        return JSONResponse(topology_now(self._sources, self._sources.statistics()), headers=HEADERS)

    async def status(self, request: Request) -> Response:
        now, statistics = trio.current_time(), self._sources.statistics()
        return JSONResponse(status_now(self._sources, now, statistics), headers=HEADERS)

    async def process(self, request: Request) -> Response:
        """This process, and what whoever asks may do."""
        right = request.scope.get(RIGHT, Right.NONE)
        document = {
            "caller": caller_of(request)[0],
            "rights": right.name.lower(),
            **process_now(self._sources),
        }
        return JSONResponse(document, headers=HEADERS)

    async def config(self, request: Request) -> Response:
        if self._sources.config is None:
            return JSONResponse({"error": "no config is known here"}, status_code=404, headers=HEADERS)
        config = self._sources.config()
        document = {"config": config_values(config), "text": config_text(config)}
        return JSONResponse(document, headers=HEADERS)

    async def events(self, request: Request) -> Response:
        text = request.query_params.get("count", "100")
        count = int(text) if text.isascii() and text.isdigit() else CAPACITY
        return JSONResponse(events_now(self._sources, min(count, CAPACITY)), headers=HEADERS)

    async def dead_letters(self, request: Request) -> Response:
        cluster, text = request.query_params.get("cluster", ""), request.query_params.get("count", "100")
        count = min(int(text), LETTERS) if text.isascii() and text.isdigit() else LETTERS
        try:
            letters = await self._sources.letters(cluster, count)
        except (NodeFailure, NodeError) as error:
            return JSONResponse({"error": str(error)}, status_code=503, headers=HEADERS)
        return JSONResponse({"letters": [asdict(letter) for letter in letters]}, headers=HEADERS)


def _probe(problems: list[str]) -> Response:
    if problems:
        return PlainTextResponse("\n".join(problems) + "\n", status_code=503, headers=HEADERS)
    return PlainTextResponse("ok\n", headers=HEADERS)


async def _failed(request: Request, error: Exception) -> Response:
    log.error("admin page failed", path=request.url.path, exc_info=error)
    return PlainTextResponse("internal error, see the log\n", status_code=500, headers=HEADERS)
