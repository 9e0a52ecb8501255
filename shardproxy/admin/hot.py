"""What is hot and what is large over HTTP.

    GET /api/hotkeys?cluster=&by=requests|bytes&limit=100
    GET /api/bigkeys?cluster=&limit=100

Without a cluster all of them. 404 for one that is not configured, 400 for what cannot be read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shardproxy.admin.hot_document import big_document, hot_document
from shardproxy.admin.status import StatusBoard
from shardproxy.dataplane.hot import BigKey, Hot

LIMIT, MOST = 100, 1000  # of each list
ORDERS = ("requests", "bytes")


class AskedError(Exception):
    """What was asked cannot be answered."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class HotPages:
    """One method a page."""

    def __init__(
        self,
        status: StatusBoard,
        hot: Callable[[str], Awaitable[Hot]],  # in a cluster
        big: Callable[[str], Awaitable[Sequence[BigKey]]],
        headers: dict[str, str],
    ) -> None:
        self._status = status
        self._hot = hot
        self._big = big
        self._headers = headers

    @property
    def routes(self) -> list[Route]:
        return [Route("/api/hotkeys", self.hotkeys), Route("/api/bigkeys", self.bigkeys)]

    async def hotkeys(self, request: Request) -> Response:
        try:
            names, limit = self._clusters(request), _limit(request)
            by = _one_of(request, "by", ORDERS)
        except AskedError as error:
            return self._refused(error)
        found = {name: hot_document(await self._hot(name), by, limit) for name in names}
        return JSONResponse({"clusters": found}, headers=self._headers)

    async def bigkeys(self, request: Request) -> Response:
        try:
            names, limit = self._clusters(request), _limit(request)
        except AskedError as error:
            return self._refused(error)
        found = {name: big_document(await self._big(name), limit) for name in names}
        return JSONResponse({"clusters": found}, headers=self._headers)

    def _clusters(self, request: Request) -> tuple[str, ...]:
        known, wanted = self._status.now.clusters, request.query_params.get("cluster")
        if not wanted:
            return known
        if wanted not in known:
            raise AskedError(404, f"there is no cluster {wanted}, there are: {', '.join(sorted(known))}")
        return (wanted,)

    def _refused(self, error: AskedError) -> Response:
        return JSONResponse({"error": str(error)}, status_code=error.status, headers=self._headers)


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", str(LIMIT))
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= MOST:
        raise AskedError(400, f"limit is a number from 1 to {MOST}")
    return int(text)


def _one_of(request: Request, name: str, known: tuple[str, ...]) -> str:
    value = request.query_params.get(name, known[0])
    if value not in known:
        raise AskedError(400, f"{name} is one of: {', '.join(known)}")
    return value
