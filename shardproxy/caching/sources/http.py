"""An HTTP server as a source: GET of a path with the parts of the key in it.

Parts are percent-encoded: none adds a segment to the path, or anything to the query. Redirects are not
followed, and proxies of the environment are not used.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx
import trio

from shardproxy.caching.sources.interface import (
    Body,
    Given,
    NotWritten,
    Operation,
    Parts,
    SourceBusyError,
    SourceDownError,
    SourceRefusedError,
    WriteOf,
)
from shardproxy.caching.sources.turns import Turns, in_time
from shardproxy.config.caching import PART_IN_PATH
from shardproxy.config.secrets import SecretError

if TYPE_CHECKING:
    from shardproxy.caching.rules import Rule

NO_SUCH = (404, 410)
BUSY = 429
DOTS = frozenset((".", ".."))


class HttpSource:
    """A server."""

    def __init__(
        self,
        url: str,
        turns: Turns,
        timeout: float,
        *,
        token: Callable[[], str | None] = lambda: None,
        headers: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`token` is asked for with each request; it may raise SecretError."""
        self._url = url.rstrip("/")
        self._turns = turns
        self._timeout = timeout
        self._token = token
        self._headers = {"accept": "*/*", "user-agent": "shardproxy", **(headers or {})}
        limits = httpx.Limits(max_connections=turns.most, max_keepalive_connections=turns.most)
        self._client = httpx.AsyncClient(
            limits=limits, timeout=None, verify=tls or True, trust_env=False, follow_redirects=False
        )

    async def aclose(self) -> None:
        await self._client.aclose()

    async def load(self, rule: Rule, parts: Parts) -> Body | None:
        load = rule.config.load
        assert load is not None, "a rule that loads"
        assert load.path is not None, "of a server"
        path = path_of(load.path, parts)
        if path is None:
            return None
        deadline = trio.current_time() + self._timeout
        async with self._turns.turn(deadline):
            with in_time(deadline):
                return await self._fetch(self._url + path, load.limit)

    async def _fetch(self, url: str, limit: int) -> Body | None:
        try:
            async with self._client.stream("GET", url, headers=self._all_headers()) as answer:
                if answer.status_code in NO_SUCH:
                    return None
                _raise_for(answer)
                content = await _read(answer, limit)
        except httpx.InvalidURL as e:  # as one that is longer than any may be
            raise SourceRefusedError("the key makes no URL that can be asked for", why_not(e)) from None
        except (httpx.TransportError, httpx.DecodingError) as e:
            raise SourceDownError("the server cannot be asked", why_not(e)) from None
        except SecretError as e:
            raise SourceDownError("the server cannot be asked", str(e)) from None
        return Body(content)

    def _all_headers(self) -> Mapping[str, str]:
        token = self._token()
        return self._headers if token is None else {**self._headers, "authorization": f"Bearer {token}"}

    def writing(self, rule: Rule, parts: Parts, op: Operation, given: Given) -> NotWritten:
        return NotWritten("a server")

    def writing_all(self, writes: Sequence[WriteOf]) -> NotWritten:
        return NotWritten("a server")


async def _read(answer: httpx.Response, limit: int) -> bytes:
    """The whole of it; raise SourceRefusedError when that is too much."""
    content = bytearray()
    with trio.CancelScope() as reading:
        async for chunk in answer.aiter_bytes():
            content += chunk
            if len(content) > limit:
                reading.cancel()  # all of the generators below end by it
    if len(content) > limit:
        raise SourceRefusedError(f"the value is larger than {limit} bytes")
    return bytes(content)


def _raise_for(answer: httpx.Response) -> None:
    """Raise SourceError unless the answer is a value."""
    status = answer.status_code
    if status == BUSY:
        raise SourceBusyError("the server answers 429: too many requests")
    if status >= 500:
        raise SourceDownError(f"the server answers {status}")
    if not 200 <= status < 300:
        raise SourceRefusedError(f"the server answers {status}")


def why_not(error: BaseException) -> str:
    """What went wrong, for operators: the first of its causes that says anything."""
    cause: BaseException | None = error
    while cause is not None and not str(cause):
        cause = cause.__cause__ or cause.__context__
    said = " ".join(str(cause or "").split())[:300]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def path_of(template: str, parts: Parts) -> str | None:
    """The path for a key; None where a part would make a segment . or .., which servers take away."""
    pieces = _pieces(template)
    written = "".join(quote(parts[one], safe="") if i % 2 else one for i, one in enumerate(pieces))
    path = written.split("?", 1)[0]
    return None if DOTS.intersection(path.split("/")) else written


@lru_cache(maxsize=1024)
def _pieces(template: str) -> tuple[str, ...]:
    """Texts at even places, names between them."""
    return tuple(PART_IN_PATH.split(template))
