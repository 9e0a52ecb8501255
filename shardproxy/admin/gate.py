"""Stands before every page: who asks, whether they may, and that it is no web page that sends them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from shardproxy.access.audit import Audit
from shardproxy.admin.callers import Right
from shardproxy.admin.console import is_console
from shardproxy.admin.guard import why_not_answered, why_not_asked
from shardproxy.admin.rights import right_wanted, why_too_little
from shardproxy.admin.status import StatusBoard

PROBES = frozenset({"/livez", "/readyz"})  # they say nothing but yes or no, and kubelets have no tokens
CALLER = "shardproxy.caller"  # in the scope of a request: who asks
RIGHT = "shardproxy.right"  # in the same: what they may do
NAMES = "shardproxy.certificate"  # in the same: the names in the client's certificate
NOT_FROM_THERE = "nobody asks from there (admin_access.inbound)"
API = "/api/"


class Gate:
    """Lets a request through, or answers 401 (who are you), 403 (not you, or not from there)."""

    def __init__(self, app: ASGIApp, status: StatusBoard, audit: Audit, headers: dict[str, str]) -> None:
        self._app = app
        self._status = status
        self._audit = audit
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        refused = self._why_refused(Request(scope))
        if refused is None:
            await self._app(scope, receive, send)
            return
        status, why = refused
        headers = {**self._headers, **({"www-authenticate": "Bearer"} if status == 401 else {})}
        await JSONResponse({"error": why}, status_code=status, headers=headers)(scope, receive, send)

    def _why_refused(self, request: Request) -> tuple[int, str] | None:
        peer, now = peer_of(request), self._status.now
        # that counts when it connects; whoever was connected before a reload is told
        if now.inbound is not None and not now.inbound.is_admitted(peer):
            self._note(request, "", NOT_FROM_THERE)
            return 403, NOT_FROM_THERE
        if (why := why_not_asked(peer, request.headers, now.names)) is not None:
            return 403, why
        if path_of(request).startswith(API) and (why := why_not_answered(request.headers)) is not None:
            self._note(request, "", why)
            return 403, why
        names, authorization = request.scope.get(NAMES, ()), request.headers.get("authorization")
        caller = now.callers.identify(peer, authorization, names)
        request.scope[CALLER] = caller.name if caller is not None else ""
        request.scope[RIGHT] = caller.right if caller is not None else Right.NONE
        wanted = right_wanted(request.method, path_of(request), request.query_params)
        if _is_open(path_of(request)) or (caller is not None and caller.right >= wanted):
            return None
        if caller is None:
            why = "this token is not known" if authorization else "a token is asked for: --token-file FILE"
            status = 401
        else:
            here = why_too_little(request.method, wanted, is_open=now.callers.is_open)
            status, why = 403, f"{caller.name}: {here}"
        self._note(request, caller.name if caller else "", why)
        return status, why

    def _note(self, request: Request, name: str, why: str) -> None:
        peer, path = peer_of(request), path_of(request)
        self._audit.note("admin_refused", user=name, address=peer, action=path, why=why)


def _is_open(path: str) -> bool:
    return path in PROBES or is_console(path)


def path_of(request: Request) -> str:
    """The path that is routed by; that of `Request.url` is made of what a client says its host is."""
    return str(request.scope["path"])


def peer_of(request: Request) -> str:
    """The client's IP, empty on a unix socket."""
    return request.client.host if request.client else ""


def caller_of(request: Request) -> tuple[str, str]:
    """Who asks, as the audit log calls them, and from where."""
    return request.scope.get(CALLER, ""), peer_of(request)
