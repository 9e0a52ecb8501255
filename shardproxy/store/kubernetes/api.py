"""The API server over HTTP: objects read, written and watched. Knows nothing of what they mean.

Every request has a deadline. What is no answer is an UnreachableError: a write may have happened.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from shardproxy.store.kubernetes.credentials import Access
from shardproxy.store.kubernetes.errors import DeniedError, GoneError, UnreachableError, error_of

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


@dataclass(slots=True)
class Requests:
    """How much is asked of the API server, for metrics and tests."""

    reads: int = 0
    writes: int = 0
    watches: int = 0
    failures: int = 0


class Api:
    """One API server and namespace. Close it when done."""

    def __init__(
        self, access: Access, *, timeout: float, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._access = access
        self._timeout = timeout
        self._transport = transport
        self._tokens = access.tokens()
        self._client: httpx.AsyncClient | None = None
        self.requests = Requests()

    @property
    def namespace(self) -> str:
        return self._access.namespace

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Object:
        """Read an object or a list; raise ApiError. Without resourceVersion it is never an old one."""
        self.requests.reads += 1
        return await self._ask("GET", path, query=query)

    async def create(self, path: str, value: Object) -> Object:
        """Raise VersionConflictError when it exists, or ApiError."""
        self.requests.writes += 1
        return await self._ask("POST", path, value)

    async def replace(self, path: str, value: Object) -> Object:
        """Replace the object of metadata.resourceVersion; raise VersionConflictError, NotFoundError or ApiError."""
        self.requests.writes += 1
        return await self._ask("PUT", path, value)

    async def delete(self, path: str, *, uid: str, version: str | None = None) -> None:
        """Delete that very object, as of that version where given; raise VersionConflictError, NotFoundError or ApiError."""
        self.requests.writes += 1
        preconditions = {"uid": uid} | ({"resourceVersion": version} if version is not None else {})
        await self._ask("DELETE", path, {"preconditions": preconditions})

    @contextlib.asynccontextmanager
    async def watch(self, path: str, query: Mapping[str, str]) -> AsyncIterator[AsyncIterator[Event]]:
        """What happens after query's resourceVersion, until the server ends it; raise GoneError or ApiError."""
        import httpx

        self.requests.watches += 1
        client = self._connected()
        asked = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(MAX_WATCH),
            **query,
        }
        timeout = httpx.Timeout(self._timeout, read=MAX_WATCH + 60.0)
        request = client.build_request("GET", path, params=asked, headers=self._headers(), timeout=timeout)
        try:
            with trio.fail_after(self._timeout):
                response = await client.send(request, stream=True)
            try:
                if response.status_code != 200:
                    with trio.fail_after(self._timeout):
                        raise self._refused(response.status_code, await response.aread(), "watch")
                chunks = response.aiter_raw()
                events = _events(chunks)
                try:
                    yield events
                finally:
                    await events.aclose()
                    await chunks.aclose()  # type: ignore[attr-defined]
            finally:
                with trio.move_on_after(self._timeout, shield=True):
                    await response.aclose()
        except (httpx.HTTPError, OSError, trio.TooSlowError) as error:
            self.requests.failures += 1
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

        content = json.dumps(value, separators=(",", ":")).encode() if value is not None else None
        what = f"{method} {path.removeprefix('/')}"
        try:
            with trio.fail_after(self._timeout):
                async with self._connected().stream(
                    method,
                    path,
                    params=query,
                    content=content,
                    headers=self._headers(),
                    timeout=self._timeout,
                ) as response:
                    body = await _read(response)
        except (httpx.HTTPError, OSError, trio.TooSlowError) as error:
            self.requests.failures += 1
            raise UnreachableError(f"Kubernetes: {what}: {_cause(error)}") from None
        if not 200 <= response.status_code < 300:
            raise self._refused(response.status_code, body, what)
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise UnreachableError(f"Kubernetes: {what}: the answer is no object of JSON")
        return answer

    def _connected(self) -> httpx.AsyncClient:
        if self._client is None:
            import httpx

            context = self._access.context() if self._transport is None else None
            self._client = httpx.AsyncClient(
                base_url=self._access.server,
                verify=context if context is not None else True,
                transport=self._transport,
                trust_env=False,  # no proxy of the environment gets to see the token
                follow_redirects=False,
            )
        return self._client

    def _headers(self) -> dict[str, str]:
        token = self._tokens.get() if self._tokens is not None else self._access.fixed_token()
        return {
            "accept": "application/json",
            "accept-encoding": "identity",
            "content-type": "application/json",
            **({"authorization": f"Bearer {token}"} if token else {}),
        }

    def _refused(self, status: int, body: bytes, what: str) -> Exception:
        self.requests.failures += 1
        return error_of(status, _message(body), what)


async def _read(response: httpx.Response) -> bytes:
    """The whole body, to its end: what is left half-way is not cleaned up."""
    parts, length = [], 0
    async for chunk in response.aiter_raw():
        length += len(chunk)
        if length <= MAX_ANSWER:
            parts.append(chunk)
    if length > MAX_ANSWER:
        raise UnreachableError(f"Kubernetes: an answer has more than {MAX_ANSWER} bytes")
    return b"".join(parts)


async def _events(chunks: AsyncIterator[bytes]) -> AsyncGenerator[Event, None]:
    """A line of JSON each."""
    rest = bytearray()
    async for chunk in chunks:
        rest += chunk
        *lines, last = rest.split(b"\n")
        rest = bytearray(last)
        if len(rest) > MAX_EVENT:
            raise UnreachableError(f"Kubernetes: an event of a watch has more than {MAX_EVENT} bytes")
        for line in lines:
            if line.strip():
                yield _event(bytes(line))


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
