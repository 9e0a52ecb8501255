"""Clients over HTTP: who is connected, and closing some.

GET  /api/clients?cluster=NAME&match=TEXT   at most 1000 of those with that text in them
POST /api/clients/kill                      {ids: [...]}, at most 100; 200 with how many there were
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shardproxy.access.audit import Audit
from shardproxy.admin.actions import RequestError, body_read
from shardproxy.admin.documents import clients_document
from shardproxy.admin.gate import caller_of

MAX_BODY = 64 << 10  # bytes
MAX_KILLED = 100  # at once: a line of the audit log has them all
INTERRUPTED = "it was not finished: how many are closed is not known"
MAX_ID = (1 << 63) - 1


class ClientPages:
    """One method a page."""

    def __init__(
        self,
        clients: Callable[[], Awaitable[tuple[Mapping[str, Any], ...]]],
        kill: Callable[[Iterable[int]], Awaitable[int]],  # those; how many there were
        audit: Audit,
        headers: dict[str, str],
    ) -> None:
        self._clients = clients
        self._kill = kill
        self._audit = audit
        self._headers = headers

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/api/clients", self.clients),
            Route("/api/clients/kill", self.kill, methods=["POST"]),
        ]

    async def clients(self, request: Request) -> Response:
        asked = request.query_params
        document = clients_document(
            await self._clients(), cluster=asked.get("cluster"), match=asked.get("match", "")
        )
        return JSONResponse(document, headers=self._headers)

    async def kill(self, request: Request) -> Response:
        ids: list[int] = []
        killed: int | None = None
        why = INTERRUPTED
        try:
            ids = ids_read(await body_read(request, MAX_BODY))
            killed, why = await self._kill(ids), ""
        except RequestError as error:
            why = str(error)
            return JSONResponse({"error": why}, status_code=error.status, headers=self._headers)
        finally:  # whoever asked may be gone, and clients may be too
            self._note(request, ids, killed, why)
        return JSONResponse({"killed": killed}, headers=self._headers)

    def _note(self, request: Request, ids: list[int], killed: int | None, why: str) -> None:
        """Have the audit log say who closed whom."""
        caller, address = caller_of(request)
        self._audit.note(
            "admin_action",
            user=caller,
            address=address,
            action="clients/kill",
            count=len(ids),
            ids=", ".join(map(str, ids)),
            killed="" if killed is None else killed,
            why=why,
        )


def ids_read(asked: dict[str, Any]) -> list[int]:
    """The clients that are meant; raise RequestError."""
    ids = asked.get("ids")
    if not isinstance(ids, list) or not 0 < len(ids) <= MAX_KILLED:
        raise RequestError(400, f"ids: send 1 to {MAX_KILLED} numbers of clients, as /api/clients has them")
    if not all(isinstance(one, int) and not isinstance(one, bool) and 0 < one <= MAX_ID for one in ids):
        raise RequestError(400, "ids: a client's number is an integer above 0")
    return ids
