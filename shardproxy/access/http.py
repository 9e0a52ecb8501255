"""A login that a service of somebody else's decides: asked by HTTP, and what it accepted is kept for a while.

What is kept are hashes with a salt of this process, of logins that were accepted; a refusal is never kept. A
service that is silent, slow or broken refuses: nobody gets in because something fails.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import structlog
import trio

from shardproxy.access.statistics import LoginStatistics
from shardproxy.access.verifiers import Accepted, Login, Refused, Verdict

if TYPE_CHECKING:
    import httpx

MAX_CACHED = 10_000  # logins; whoever was accepted longest ago is asked about again
MAX_CALLS = 16  # at once to one service; others wait for their turn, as long as they may wait at all
MAX_ANSWER = 65_536  # bytes; what counts are two keys

REFUSED = "verifier refused it"
FAILED = "verifier failed"
NOT_TEXT = "user or secret is not text"

log = structlog.get_logger()

Post: TypeAlias = Callable[[str, dict[str, str], float], Awaitable[bytes]]


class VerifierError(Exception):
    """Why there is no usable answer, in words; holds nothing that was sent."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service said."""

    is_allowed: bool
    seconds: float | None = None  # for which it counts; None = as long as is configured


@dataclass(slots=True)
class Cache:
    """Logins that were accepted, and until when."""

    size: int = MAX_CACHED
    _salt: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    _until: OrderedDict[bytes, float] = field(default_factory=OrderedDict, repr=False)

    def has(self, key: bytes, now: float) -> bool:
        until = self._until.get(key)
        if until is not None and until <= now:
            del self._until[key]
        return until is not None and until > now

    def add(self, key: bytes, until: float) -> None:
        self._until.pop(key, None)
        self._until[key] = until
        if len(self._until) > self.size:
            self._until.popitem(last=False)

    def drop(self, key: bytes) -> None:
        self._until.pop(key, None)

    def __len__(self) -> int:
        return len(self._until)

    def key(self, cluster: str, user: str, secret: str, address: str) -> bytes:
        """What a login is kept under: all that the service was told, but for the port."""
        digest = hmac.new(self._salt, digestmod=hashlib.sha256)
        for part in (cluster, user, secret, address.rpartition(":")[0] or address):
            data = part.encode()
            digest.update(len(data).to_bytes(8, "big") + data)
        return digest.digest()


@dataclass(slots=True)
class HttpVerifier:
    """Asks one service about the users of one cluster."""

    url: str
    timeout: float  # seconds until a login is refused
    keep: float  # seconds a login that was accepted counts at most
    post: Post
    statistics: LoginStatistics
    cache: Cache = field(default_factory=Cache)
    _calls: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(MAX_CALLS))
    _trouble: str | None = None  # that the log knows

    async def verify(self, login: Login) -> Verdict:
        """Decide within the timeout."""
        try:
            user, secret = login.user.decode(), login.secret.decode()
        except UnicodeDecodeError:
            return Refused(NOT_TEXT)
        body = {"cluster": login.cluster, "user": user, "secret": secret}
        try:
            with trio.fail_after(self.timeout):
                body["address"] = await login.find_address()
                return await self._verify(login, body)
        except trio.TooSlowError:
            return self._failed(login, f"no answer within {self.timeout:g} s")
        except VerifierError as error:
            return self._failed(login, str(error))

    async def _verify(self, login: Login, body: dict[str, str]) -> Verdict:
        key = self.cache.key(*body.values())
        if self.cache.has(key, trio.current_time()):
            return Accepted()
        async with self._calls:
            if self.cache.has(key, trio.current_time()):  # who waited before us has asked
                return Accepted()
            self.statistics.asked[login.cluster] += 1
            answer = answer_read(await self.post(self.url, body, self.timeout))
        self._answered(login.cluster)
        if not answer.is_allowed:
            self.cache.drop(key)
            return Refused(REFUSED)
        keep = self.keep if answer.seconds is None else min(self.keep, answer.seconds)
        if keep > 0:
            self.cache.add(key, trio.current_time() + keep)
        return Accepted()

    def _answered(self, cluster: str) -> None:
        if self._trouble is not None:
            self._trouble = None
            log.info("verifier answers again", cluster=cluster)

    def _failed(self, login: Login, why: str) -> Refused:
        self.statistics.failed[login.cluster] += 1
        if self._trouble != why:
            self._trouble = why
            log.error("logins refused, as the verifier fails", cluster=login.cluster, why=why)
        return Refused(FAILED)


def answer_read(content: bytes) -> Answer:
    """Read what a service answered; raise VerifierError unless it is {"allow": true or false}."""
    try:
        values: Any = json.loads(content)
    except (ValueError, RecursionError):
        raise VerifierError("its answer is not JSON") from None
    if not isinstance(values, dict) or not isinstance(values.get("allow"), bool):
        raise VerifierError('its answer has no "allow": true or false')
    seconds = values.get("seconds")
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if seconds is not None and not (is_number and seconds >= 0):
        raise VerifierError('its "seconds" are not a number')
    return Answer(values["allow"], seconds)


class Poster:
    """Posts JSON, on connections that are kept; they close when it is left."""

    def __init__(self) -> None:
        self._client: httpx.AsyncClient | None = None

    async def post(self, url: str, body: dict[str, str], timeout: float) -> bytes:
        """Return what was answered with 200; raise VerifierError."""
        import httpx  # a tenth of a second that only who has a verifier waits

        if self._client is None:
            # neither a proxy of the environment nor where a redirect leads gets to see secrets
            self._client = httpx.AsyncClient(
                trust_env=False, follow_redirects=False, headers={"accept-encoding": "identity"}
            )
        try:
            async with self._client.stream("POST", url, json=body, timeout=timeout) as response:
                if response.status_code != 200:
                    raise VerifierError(f"it answered with status {response.status_code}")
                content, length = b"", 0
                async for (
                    chunk
                ) in response.aiter_raw():  # to its end: what is left half-way is not cleaned up
                    length += len(chunk)
                    if length <= MAX_ANSWER:
                        content += chunk
                if length > MAX_ANSWER:
                    raise VerifierError(f"its answer is longer than {MAX_ANSWER} bytes")
                return content
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise VerifierError(_cause(error)) from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None


def _cause(error: Exception) -> str:
    """Why, without what was sent."""
    return str(error) or type(error).__name__
