"""Asks the members of etcd, one after the other until one answers.

A request is sent again when its outcome is not known: each is such that a second time changes nothing more.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, NoReturn

import httpx
import trio

from shardproxy.store.etcd.access import Access
from shardproxy.store.etcd.errors import (
    DataLostError,
    EtcdUnavailableError,
    LoginOldError,
    NoUsersError,
)
from shardproxy.store.etcd.http import (
    cause_of,
    check_status,
    failure_of,
    lines_take,
    message_of,
    read_all,
    request_of,
)
from shardproxy.store.etcd.messages import Message, header_of
from shardproxy.store.etcd.position import Position
from shardproxy.store.interface import StoreUnavailableError
from shardproxy.store.statistics import StoreStatistics

ATTEMPT = 1.0  # seconds for one member's answer: one without a quorum would take 7
AGREED = frozenset({"/v3/kv/range", "/v3/kv/txn"})  # a quorum stands behind the answer


class Client:
    """A context manager: its connections close when it is left."""

    def __init__(self, access: Access, statistics: StoreStatistics) -> None:
        self._access = access
        self._statistics = statistics
        self._at = 0  # the endpoint that answered last
        self._token: str | None = None
        self._login = trio.Lock()
        self._http: httpx.AsyncClient | None = None
        self._files: object = None
        self.position = Position()

    async def call(self, path: str, body: Mapping[str, Any], *, attempt: float = ATTEMPT) -> Message:
        """Return the answer of the first member that has one; raise StoreUnavailableError."""
        error: StoreUnavailableError | None = None
        for _ in self._access.endpoints:
            at, endpoint = self._at, self.endpoint
            try:
                return await self._ask(endpoint, path, body, attempt)
            except (EtcdUnavailableError, DataLostError) as why:
                if not isinstance(error, DataLostError):
                    error = why
                self._leave(at)
        assert error is not None
        raise error

    async def stream(self, path: str, body: Mapping[str, Any], take: Callable[[Message], None]) -> NoReturn:
        """Have everything taken that a member tells, until it tells no more: raise StoreUnavailableError.

        `take` raises one as well, to end it.
        """
        at, endpoint = self._at, self.endpoint
        try:
            await self._stream(endpoint, path, body, take)
        except LoginOldError:
            self._token = None
            raise
        except (EtcdUnavailableError, DataLostError):
            self._leave(at)
            raise

    async def _stream(
        self, endpoint: str, path: str, body: Mapping[str, Any], take: Callable[[Message], None]
    ) -> NoReturn:
        token, sent = await self._token_now(endpoint), self.position
        self._statistics.requests += 1
        try:
            with trio.fail_after(ATTEMPT) as opening:
                async with self._request(endpoint, path, body, token) as response:
                    await check_status(response, endpoint)
                    opening.deadline = float("inf")

                    def look(line: bytes) -> None:
                        message = message_of(line, endpoint)
                        if "result" not in message:
                            raise failure_of(message.get("error", message), endpoint)
                        self._look(message["result"], endpoint, sent, is_agreed=False)
                        take(message["result"])

                    await lines_take(response, look, endpoint)
        except trio.TooSlowError:
            raise EtcdUnavailableError(f"{endpoint}: no answer within {ATTEMPT:g} s") from None
        except (httpx.HTTPError, OSError) as error:
            raise EtcdUnavailableError(f"{endpoint}: {cause_of(error)}") from error

    async def aclose(self) -> None:
        if self._http is not None:
            http, self._http = self._http, None
            await http.aclose()

    @property
    def endpoint(self) -> str:
        """The member that is asked first."""
        return self._access.endpoints[self._at]

    def leave(self) -> None:
        """Ask another member from now on: this one is silent where it should not be."""
        self._leave(self._at)

    def _leave(self, at: int) -> None:
        if self._at == at:  # nobody has left it before us
            self._at = (at + 1) % len(self._access.endpoints)

    async def _ask(self, endpoint: str, path: str, body: Mapping[str, Any], attempt: float) -> Message:
        """One member's answer, with another login where the one there is has become old."""
        token = await self._token_now(endpoint)
        try:
            return await self._attempt(endpoint, path, body, token, attempt)
        except LoginOldError:
            if self._token == token:
                self._token = None
            return await self._attempt(endpoint, path, body, await self._token_now(endpoint), attempt)

    async def _attempt(
        self, endpoint: str, path: str, body: Mapping[str, Any], token: str, attempt: float = ATTEMPT
    ) -> Message:
        sent = self.position
        self._statistics.requests += 1
        try:
            with trio.fail_after(attempt):
                async with self._request(endpoint, path, body, token) as response:
                    await check_status(response, endpoint)
                    reply = message_of(await read_all(response, endpoint), endpoint)
        except trio.TooSlowError:
            self._statistics.request_failures += 1
            raise EtcdUnavailableError(f"{endpoint}: no answer within {attempt:g} s") from None
        except (httpx.HTTPError, OSError) as error:
            self._statistics.request_failures += 1
            raise EtcdUnavailableError(f"{endpoint}: {cause_of(error)}") from error
        except StoreUnavailableError:
            self._statistics.request_failures += 1
            raise
        self._look(reply.get("result", reply), endpoint, sent, is_agreed=path in AGREED)
        return reply

    def _look(self, reply: Message, endpoint: str, sent: Position, *, is_agreed: bool) -> None:
        header = header_of(reply)
        sent.check(header, endpoint, is_agreed=is_agreed)
        self.position = self.position.after(header, is_agreed=is_agreed)

    async def _token_now(self, endpoint: str) -> str:
        """Log in, once for all that wait for it; an empty one where nobody has to."""
        async with self._login:
            if self._token is None:
                if endpoint != self.endpoint:
                    raise EtcdUnavailableError(f"{endpoint} was left, as it did not answer another request")
                self._token = await self._log_in(endpoint)
            return self._token

    async def _log_in(self, endpoint: str) -> str:
        login = self._access.login()
        if login is None:
            return ""
        try:
            reply = await self._attempt(endpoint, "/v3/auth/authenticate", login, "")
        except NoUsersError:
            return ""  # it has none yet, or none for now
        return str(reply["token"])

    @contextlib.asynccontextmanager
    async def _request(
        self, endpoint: str, path: str, body: Mapping[str, Any], token: str
    ) -> AsyncIterator[httpx.Response]:
        name = self._access.server_name
        request = request_of(endpoint + path, body, token, name)
        response = await (await self._opened()).send(request, stream=True)
        try:
            yield response
        finally:
            await response.aclose()

    async def _opened(self) -> httpx.AsyncClient:
        """A new one where files of TLS have changed; who still waits for the old one asks again."""
        seen = self._access.files_seen()
        if self._http is None or seen != self._files:
            context = self._access.context()
            old, self._files = self._http, seen
            # neither a proxy of the environment nor where a redirect leads gets to see secrets
            self._http = httpx.AsyncClient(
                verify=context if context is not None else True,
                trust_env=False,
                follow_redirects=False,
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=8),
            )
            if old is not None:
                await old.aclose()
        return self._http
