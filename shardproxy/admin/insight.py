"""Why, how full and how large, over HTTP. Nothing here changes anything; some has nodes work (rights.py).

GET /api/explain?cluster=NAME&arg=GET&arg=user:1[&user=&zone=&endpoint=]   where a request goes, and why
GET /api/usage?cluster=NAME&sample=KEYS                                      figures of shards
GET /api/advice?cluster=NAME                                                 what to do about them
GET /api/bigkeys/scan?cluster=NAME&rate=1000&limit=100&samples=5             NDJSON, as it is found
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Send

from shardproxy.admin.lifetime import extend
from shardproxy.insight.bigkeys import MAX_LIMIT, MAX_RATE
from shardproxy.insight.interface import Asked, Insight, InsightError, Lines

MAX_ARGS = 1000
MAX_SAMPLE = 50_000  # keys of a shard
RATE, LIMIT, SAMPLES = 1000, 100, 5

Answer = Callable[[Request], Awaitable[dict[str, Any]]]


class InsightPages:
    """One method a page."""

    def __init__(self, insight: Insight, headers: dict[str, str]) -> None:
        self._insight = insight
        self._headers = headers

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/api/explain", self._answering(self.explain)),
            Route("/api/usage", self._answering(self.usage)),
            Route("/api/advice", self._answering(self.advice)),
            Route("/api/bigkeys/scan", self.scan),
        ]

    async def explain(self, request: Request) -> dict[str, Any]:
        asked = request.query_params
        args = tuple(word.encode("utf-8", "surrogateescape") for word in asked.getlist("arg"))
        if not 0 < len(args) <= MAX_ARGS:
            raise InsightError(400, f"arg: send 1 to {MAX_ARGS} words of a request, as in arg=GET&arg=user:1")
        return self._insight.explain(
            Asked(_cluster(request), args, asked.get("user"), asked.get("zone"), asked.get("endpoint"))
        )

    async def usage(self, request: Request) -> dict[str, Any]:
        keys = number(request, "sample", 0, least=0, most=MAX_SAMPLE)
        return {"clusters": await self._insight.usage(request.query_params.get("cluster"), keys)}

    async def advice(self, request: Request) -> dict[str, Any]:
        return {"clusters": await self._insight.advice(request.query_params.get("cluster"))}

    async def scan(self, request: Request) -> Response:
        try:
            lines = self._insight.scan(
                _cluster(request),
                rate=number(request, "rate", RATE, most=MAX_RATE),
                limit=number(request, "limit", LIMIT, most=MAX_LIMIT),
                samples=number(request, "samples", SAMPLES, most=1000),
            )
        except InsightError as error:
            return self._refusal(error)
        return LinesResponse(request, lines, self._headers)

    def _answering(self, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        async def page(request: Request) -> Response:
            try:
                return JSONResponse(await answer(request), headers=self._headers)
            except InsightError as error:
                return self._refusal(error)

        return page

    def _refusal(self, error: InsightError) -> Response:
        return JSONResponse({"error": str(error)}, status_code=error.status, headers=self._headers)


class LinesResponse(StreamingResponse):
    """JSON values as they come, one a line; whoever makes them is ended when the client goes."""

    def __init__(self, request: Request, lines: Lines, headers: dict[str, str]) -> None:
        self._lines = lines
        super().__init__(_body(request, lines), media_type="application/x-ndjson", headers=headers)

    async def stream_response(self, send: Send) -> None:
        async with aclosing(cast("Any", self._lines)), aclosing(cast("Any", self.body_iterator)):
            await super().stream_response(send)


async def _body(request: Request, lines: Lines) -> AsyncIterator[str]:
    async for line in lines:
        yield json.dumps(line, ensure_ascii=False) + "\n"
        extend(request.scope)  # it was taken: the client is there, and reads


def number(request: Request, name: str, default: int, *, least: int = 1, most: int) -> int:
    """A whole number of a query; raise InsightError."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 10 or not least <= int(text) <= most:
        raise InsightError(400, f"{name}: send a number from {least} to {most}")
    return int(text)


def _cluster(request: Request) -> str:
    if not (name := request.query_params.get("cluster")):
        raise InsightError(400, "cluster: say which, as in cluster=NAME")
    return name
