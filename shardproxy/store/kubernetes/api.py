"""The API server over HTTP: objects read, written and watched. Knows nothing of what they mean.

Every request has a deadline. What is no answer is an UnreachableError: a write may have happened.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from shardproxy.store.kubernetes.credentials import Access
from shardproxy.store.kubernetes.errors import DeniedError, GoneError, UnreachableError, error_of
from shardproxy.store.statistics import StoreStatistics
from shardproxy.store.streams import TooMuchError, body_of, body_read, lines_take

if TYPE_CHECKING:
    import httpx

MAX_ANSWER = 64 << 20  # bytes: a list of some dozen objects of 1 MiB at most
MAX_EVENT = 4 << 20  # bytes: an object of 1 MiB, and what surrounds it
MAX_WATCH = 300  # seconds after which the server ends a watch by itself

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """What a watch saw: ADDED, MODIFIED, DELETED or BOOKMARK."""

    kind: str
    object: Object


class Api:
    """One API server and namespace. Close it when done."""

    def __init__(
        self,
        access: Access,
        statistics: StoreStatistics,
        *,
        timeout: float,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._access = access
        self._timeout = timeout
        self._transport = transport
        self._tokens = access.tokens()
        self._client: httpx.AsyncClient | None = None
        self._statistics = statistics

    @property
    def namespace(self) -> str:
        return self._access.namespace

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Object:
        """Read an object or a list; raise ApiError. Without resourceVersion it is never an old one."""
        return await self._ask("GET", path, query=query)

    async def create(self, path: str, value: Object) -> Object:
        """Raise VersionConflictError when it exists, or ApiError."""
        return await self._ask("POST", path, value)

    async def replace(self, path: str, value: Object) -> Object:
        """Replace the object of metadata.resourceVersion.

        Raise VersionConflictError, NotFoundError or ApiError.
        """
        return await self._ask("PUT", path, value)

    async def delete(self, path: str, *, uid: str, version: str | None = None) -> None:
        """Delete that very object, as of that version where given.

        Raise VersionConflictError, NotFoundError or ApiError.
        """
        preconditions = {"uid": uid} | ({"resourceVersion": version} if version is not None else {})
        await self._ask("DELETE", path, {"preconditions": preconditions})

    async def watch(self, path: str, query: Mapping[str, str], take: Callable[[Event], None]) -> None:
        """Have all taken that happens after query's resourceVersion, until the server ends it.

        Raise GoneError or ApiError.
        """
        import httpx

        asked = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(MAX_WATCH), **query}
        request = self._request("GET", path, None, asked)
        try:
            with trio.fail_after(self._timeout):
                response = await self._connected().send(request, stream=True)
            try:
                if response.status_code != 200:
                    with trio.fail_after(self._timeout):
                        content = await body_read(response, MAX_ANSWER)
                    raise self._refused(response.status_code, content, "watch")
                await lines_take(response, lambda line: take(_event(line)), MAX_EVENT)
            finally:
                with trio.move_on_after(self._timeout, shield=True):
                    await response.aclose()
        except (httpx.HTTPError, OSError, trio.TooSlowError, TooMuchError) as error:
            self._statistics.request_failures += 1
            raise UnreachableError(f"Kubernetes: watch: {_cause(error)}") from None

    async def aclose(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with trio.move_on_after(1, shield=True):
                await client.aclose()

    async def _ask(
        self, method: str, path: str, value: Object | None = None, query: Mapping[str, str] | None = None
    ) -> Object:
        try:
            return await self._ask_once(method, path, value, query)
        except DeniedError:
            if self._tokens is None:
                raise
            self._tokens.forget()  # it may have been replaced this very moment
            return await self._ask_once(method, path, value, query)

    async def _ask_once(
        self, method: str, path: str, value: Object | None, query: Mapping[str, str] | None
    ) -> Object:
        import httpx

        what = f"{method} {path.removeprefix('/')}"
        request = self._request(method, path, value, query)
        try:
            with trio.fail_after(self._timeout):
                response = await self._connected().send(request, stream=True)
                try:
                    content = await body_read(response, MAX_ANSWER)
                finally:
                    with trio.move_on_after(self._timeout, shield=True):
                        await response.aclose()
        except (httpx.HTTPError, OSError, trio.TooSlowError, TooMuchError) as error:
            self._statistics.request_failures += 1
            raise UnreachableError(f"Kubernetes: {what}: {_cause(error)}") from None
        if not 200 <= response.status_code < 300:
            raise self._refused(response.status_code, content, what)
        try:
            answer = json.loads(content)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise UnreachableError(f"Kubernetes: {what}: the answer is no object of JSON")
        return answer

    def _request(
        self, method: str, path: str, value: Object | None, query: Mapping[str, str] | None
    ) -> httpx.Request:
        """A request; its deadline is its sender's."""
        import httpx

        self._statistics.requests += 1
        token = self._tokens.get() if self._tokens is not None else self._access.fixed_token()
        url = httpx.URL(self._access.server + path, params=dict(query) if query else None)
        headers = {
            "host": url.netloc.decode(),
            "accept": "application/json",
            "accept-encoding": "identity",
            **({"authorization": f"Bearer {token}"} if token else {}),
        }
        extensions = {"timeout": httpx.Timeout(None, connect=self._timeout).as_dict()}
        if value is None:
            return httpx.Request(method, url, headers=headers, extensions=extensions)
        content = json.dumps(value, separators=(",", ":")).encode()
        headers |= {"content-type": "application/json", "content-length": str(len(content))}
        return httpx.Request(method, url, headers=headers, stream=body_of(content), extensions=extensions)

    def _connected(self) -> httpx.AsyncClient:
        if self._client is None:
            import httpx

            context = self._access.context() if self._transport is None else None
            self._client = httpx.AsyncClient(
                verify=context if context is not None else True,
                transport=self._transport,
                trust_env=False,  # no proxy of the environment gets to see the token
                follow_redirects=False,
            )
        return self._client

    def _refused(self, status: int, body: bytes, what: str) -> Exception:
        self._statistics.request_failures += 1
        return error_of(status, _message(body), what)


def _event(line: bytes) -> Event:
    try:
        values = json.loads(line)
        kind, value = values["type"], values["object"]
    except (ValueError, KeyError, TypeError):
        raise UnreachableError("Kubernetes: an event of a watch is not one") from None
    if kind != "ERROR":
        return Event(kind, value)
    if value.get("code") == 410:
        raise GoneError("Kubernetes: watch: what came since is not known any more")
    raise error_of(int(value.get("code") or 500), str(value.get("message", "")), "watch")


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return ""


def _cause(error: Exception) -> str:
    if isinstance(error, trio.TooSlowError):
        return "no answer in time"
    return str(error) or type(error).__name__
