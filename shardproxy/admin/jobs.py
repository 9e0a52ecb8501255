"""Long work over HTTP: what is under way, a plan of what would be done, and an operator's wishes.

    GET  /api/jobs?cluster=NAME                 the jobs that are kept, the oldest first
    POST /api/jobs/plan, /start                 {cluster, kind, wants}
    POST /api/jobs/pause, /resume, /abort, /finish {cluster, id}; without an id the one that is not over

200 with the plan or the job; 409 with the reason why not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shardproxy.access.audit import Audit
from shardproxy.admin.actions import RequestError, action_note, body_read
from shardproxy.admin.job_document import job_document, jobs_document
from shardproxy.jobs.desk import JobDesk
from shardproxy.jobs.interface import JobError
from shardproxy.jobs.states import Wish
from shardproxy.store.interface import StoreUnavailableError

MAX_BODY = 64 << 10  # bytes: a restore names up to 500 files

Answer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class JobPages:
    """One method a page."""

    def __init__(self, desk: JobDesk, audit: Audit, headers: dict[str, str]) -> None:
        self._desk = desk
        self._audit = audit
        self._headers = headers

    @property
    def routes(self) -> list[Route]:
        actions: Mapping[str, Answer] = {
            "plan": self.plan,
            "start": self.start,
            **{wish.value: partial(self.wish, wish) for wish in Wish},
        }
        return [
            Route("/api/jobs", self.jobs),
            *(
                Route(f"/api/jobs/{name}", partial(self._answer, name, answer), methods=["POST"])
                for name, answer in actions.items()
            ),
        ]

    async def jobs(self, request: Request) -> Response:
        found = jobs_document(self._desk.jobs(request.query_params.get("cluster")))
        return JSONResponse(found, headers=self._headers)

    async def plan(self, asked: dict[str, Any]) -> dict[str, Any]:
        cluster, kind, wants = _asked(asked)
        return {"plan": dict(await self._desk.plan(cluster, kind, wants))}

    async def start(self, asked: dict[str, Any]) -> dict[str, Any]:
        cluster, kind, wants = _asked(asked)
        return {"job": job_document(await self._desk.start(cluster, kind, wants))}

    async def wish(self, wish: Wish, asked: dict[str, Any]) -> dict[str, Any]:
        number = asked.get("id")
        cluster = _text(asked, "cluster")
        job = await self._desk.wish(cluster, wish, None if number is None else str(number))
        return {"job": job_document(job)}

    async def _answer(self, name: str, answer: Answer, request: Request) -> Response:
        asked: dict[str, Any] = {}
        why_not: str | None = None
        status, said = 200, {}
        try:
            asked = await body_read(request, MAX_BODY)
            said = await answer(asked)
        except RequestError as error:
            status, why_not = error.status, str(error)
        except JobError as error:
            status, why_not = 409, str(error)
        except StoreUnavailableError as error:
            status, why_not = 409, f"nothing was done: the store is not available: {error}"
        action_note(self._audit, request, f"jobs/{name}", asked, why_not)
        if why_not is not None:
            said = {"error": why_not}
        return JSONResponse(said, status_code=status, headers=self._headers)


def _asked(asked: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    wants = asked.get("wants", {})
    if not isinstance(wants, dict):
        raise RequestError(400, "wants: send a JSON object")
    return _text(asked, "cluster"), _text(asked, "kind"), wants


def _text(asked: dict[str, Any], name: str) -> str:
    value = asked.get(name)
    if not isinstance(value, str) or not value:
        raise RequestError(400, f"{name}: send a text")
    return value
