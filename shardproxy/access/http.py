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

import trio

from shardproxy.access.statistics import LoginStatistics
from shardproxy.access.throttle import Throttle, of_failures, origin_of
from shardproxy.access.troubles import VerifierLog
from shardproxy.access.turns import NoTurnError, Turns
from shardproxy.access.verifiers import THROTTLED, Accepted, Login, Refused, Verdict

if TYPE_CHECKING:
    import httpx

MAX_CACHED = 10_000  # logins; whoever was accepted longest ago is asked about again
MAX_ANSWER = 65_536  # bytes; what counts are two keys

REFUSED = "verifier refused it"
FAILED = "verifier failed"
NOT_TEXT = "user or secret is not text"

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
    timeout: float  # seconds for an answer to be there, and before that for the turn to ask
    keep: float  # seconds a login that was accepted counts at most
    post: Post
    statistics: LoginStatistics
    cache: Cache = field(default_factory=Cache)
    failures: Throttle = field(default_factory=of_failures)
    turns: Turns = field(default_factory=Turns)
    log: VerifierLog = field(default_factory=VerifierLog)

    async def verify(self, login: Login) -> Verdict:
        """Decide within twice the timeout."""
        try:
            user, secret = login.user.decode(), login.secret.decode()
        except UnicodeDecodeError:
            return Refused(NOT_TEXT)
        try:
            with trio.fail_after(self.timeout):
                address = await login.find_address()
        except trio.TooSlowError:
            return self._crowded(login)
        body = {"cluster": login.cluster, "user": user, "secret": secret, "address": address}
        return await self._verify(login, body, origin_of(address))

    async def _verify(self, login: Login, body: dict[str, str], origin: str) -> Verdict:
        key, who = self.cache.key(*body.values()), (login.user, origin)
        if (verdict := self._known(key, who)) is not None:
            return verdict
        try:
            async with self.turns.take(origin, self.timeout):
                if (verdict := self._known(key, who)) is not None:  # who waited before us has asked
                    return verdict
                return await self._ask(login, body, key, who)
        except NoTurnError:
            return self._crowded(login)

    def _known(self, key: bytes, who: tuple[bytes, str]) -> Verdict | None:
        """What there is to say without asking. Who was accepted is, whoever fails beside it."""
        now = trio.current_time()
        if self.cache.has(key, now):
            return Accepted()
        return None if self.failures.is_left(who, now) else Refused(THROTTLED, is_throttled=True)

    async def _ask(self, login: Login, body: dict[str, str], key: bytes, who: tuple[bytes, str]) -> Verdict:
        self.statistics.asked[login.cluster] += 1
        try:
            with trio.fail_after(self.timeout):
                answer = answer_read(await self.post(self.url, body, self.timeout))
        except trio.TooSlowError:
            return self._failed(login, f"no answer within {self.timeout:g} s")
        except VerifierError as error:
            return self._failed(login, str(error))
        except trio.Cancelled:  # its client has gone, and may come again at once
            self.failures.is_taken(who, trio.current_time())
            raise
        self.log.answered(login.cluster)
        now = trio.current_time()
        if not answer.is_allowed:
            self.failures.is_taken(who, now)
            self.cache.drop(key)
            return Refused(REFUSED)
        keep = self.keep if answer.seconds is None else min(self.keep, answer.seconds)
        if keep > 0:
            self.cache.add(key, now + keep)
        return Accepted()

    def _failed(self, login: Login, why: str) -> Refused:
        self.statistics.failed[login.cluster] += 1
        self.log.failed(login.cluster, why)
        return Refused(FAILED)

    def _crowded(self, login: Login) -> Refused:
        self.log.crowded(login.cluster)
        return Refused(THROTTLED, is_throttled=True)


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
