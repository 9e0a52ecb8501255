"""The admin pages as a starlette application. Every answer is worked out anew; only actions change things."""

from __future__ import annotations

import structlog
import trio
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from shardproxy.admin.actions import Actions, action_page
from shardproxy.admin.collector import registry_build
from shardproxy.admin.documents import clients_document, topology_document
from shardproxy.admin.failover import events_document, relaxed_add, status_document
from shardproxy.admin.gate import Gate
from shardproxy.admin.health import why_not_live, why_not_ready
from shardproxy.admin.jobs import JobPages
from shardproxy.admin.page import page_render
from shardproxy.admin.sharing import clusters_unknown
from shardproxy.admin.status import Sources
from shardproxy.store.journal import CAPACITY

HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
    "x-content-type-options": "nosniff",
}

log = structlog.get_logger()


def admin_build(sources: Sources) -> Starlette:
    """Make the application; nothing is read before a request asks."""
    pages = Pages(sources, registry_build(sources))
    actions = Actions(sources)
    return Starlette(
        routes=[
            Route("/", pages.index),
            Route("/livez", pages.livez),
            Route("/readyz", pages.readyz),
            Route("/metrics", pages.metrics),
            Route("/api/topology", pages.topology),
            Route("/api/clients", pages.clients),
            Route("/api/status", pages.status),
            Route("/api/events", pages.events),
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
            *JobPages(sources, HEADERS).routes,
        ],
        middleware=[Middleware(Gate, sources=sources, headers=HEADERS)],
        exception_handlers={Exception: _failed},
    )


class Pages:
    """One method a page."""

    def __init__(self, sources: Sources, registry: CollectorRegistry) -> None:
        self._sources = sources
        self._registry = registry

    async def livez(self, request: Request) -> Response:
        return _probe(list(why_not_live(self._sources.statistics())))

    async def readyz(self, request: Request) -> Response:
        return _probe(self._why_not_ready())

    async def metrics(self, request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self._registry), headers={**HEADERS, "content-type": content_type})

    async def index(self, request: Request) -> Response:
        return HTMLResponse(page_render(self._topology(), self._why_not_ready()), headers=HEADERS)

    async def topology(self, request: Request) -> Response:
        return JSONResponse(self._topology(), headers=HEADERS)

    async def clients(self, request: Request) -> Response:
        return JSONResponse(clients_document(await self._sources.clients()), headers=HEADERS)

    async def status(self, request: Request) -> Response:
        document = status_document(self._sources, trio.current_time())
        return JSONResponse(relaxed_add(document, self._sources.statistics()), headers=HEADERS)

    async def events(self, request: Request) -> Response:
        text = request.query_params.get("count", "100")
        count = int(text) if text.isascii() and text.isdigit() else CAPACITY
        events = tuple(self._sources.events.latest(min(count, CAPACITY)))
        return JSONResponse(events_document(events, self._sources.setups), headers=HEADERS)

    def _topology(self) -> dict[str, object]:
        return topology_document(
            self._sources.status.now, self._sources.topologies, self._sources.statistics()
        )

    def _why_not_ready(self) -> list[str]:
        status = self._sources.status.now
        unknown = clusters_unknown(self._sources)
        found = list(why_not_ready(status.clusters, self._sources.topologies, status.draining, unknown))
        if status.starting:
            found.append("starting: which nodes are primaries is not known yet")
            troubles = ((name, source.status.trouble) for name, source in self._sources.deciders.items())
            found += [f"cluster {name}: {trouble}" for name, trouble in troubles if trouble is not None]
        return found


def _probe(problems: list[str]) -> Response:
    if problems:
        return PlainTextResponse("\n".join(problems) + "\n", status_code=503, headers=HEADERS)
    return PlainTextResponse("ok\n", headers=HEADERS)


async def _failed(request: Request, error: Exception) -> Response:
    log.error("admin page failed", path=request.url.path, exc_info=error)
    return PlainTextResponse("internal error, see the log\n", status_code=500, headers=HEADERS)
