"""The seam for logins that are no matter of a password: a verifier is asked, and answers in time.

    AUTH user secret ─> worker ─ offload ─> Verifiers.verify ─> the user's verifier ─> Accepted | Refused

Which verifier a user has is configured with the user. Off the path of requests: a client waits for its login.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, TypeAlias

import trio

from shardproxy.access.sigv4 import MAX_TOKEN
from shardproxy.access.statistics import LoginStatistics

MAX_NEWS = 1024  # verdicts nobody has read yet; more are dropped, and counted all the same
MAX_USER = 1024  # bytes

NOT_VERIFIED = "nobody verifies that user"
TOO_LONG = "user or secret is too long"


class Kind(Enum):
    """Who verifies a user, by the key that says so in the config."""

    IAM = "iam"
    EXTERNAL = "external"


async def nowhere() -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Login:
    """Somebody who wants to be a user."""

    cluster: str
    user: bytes
    secret: bytes = field(repr=False)
    find_address: Callable[[], Awaitable[str]] = nowhere  # of the client; costs a moment


@dataclass(frozen=True, slots=True)
class Accepted:
    """The login is good."""

    principal: str = ""  # whose key or word it was


@dataclass(frozen=True, slots=True)
class Refused:
    """It is not, and why: for operators, never for clients."""

    why: str
    principal: str = ""
    is_throttled: bool = False


Verdict: TypeAlias = Accepted | Refused


@dataclass(frozen=True, slots=True)
class Judged:
    """A login and what became of it, for the audit log."""

    cluster: str
    user: bytes
    client_id: int
    verdict: Verdict


class Verifier(Protocol):
    """Decides about logins; always answers, and soon."""

    async def verify(self, login: Login) -> Verdict: ...


@dataclass(frozen=True, slots=True)
class ClusterVerifiers:
    """Who verifies the users of one cluster."""

    kinds: Mapping[str, Kind]  # by user
    by_kind: Mapping[Kind, Verifier]

    def of(self, user: bytes) -> Verifier | None:
        kind = self.kinds.get(user.decode("utf-8", "surrogateescape"))
        return self.by_kind.get(kind) if kind is not None else None


class Verifiers:
    """Those of all clusters. One writer: the app, at start and at reload."""

    def __init__(self, statistics: LoginStatistics | None = None) -> None:
        self.statistics = statistics or LoginStatistics()
        self._clusters: Mapping[str, ClusterVerifiers] = {}
        self._judge, self.judged = trio.open_memory_channel[Judged](MAX_NEWS)

    def replace(self, clusters: Mapping[str, ClusterVerifiers]) -> None:
        """From now on these; a login that is being verified is decided by who began."""
        self._clusters = clusters

    def of(self, cluster: str, user: bytes) -> Verifier | None:
        """Who verifies a user, if anybody does."""
        found = self._clusters.get(cluster)
        return found.of(user) if found is not None else None

    async def verify(self, login: Login, client_id: int = 0) -> Verdict:
        """Decide about a login, count it and tell who listens."""
        verifier = self.of(login.cluster, login.user)
        verdict: Verdict
        if verifier is None:
            verdict = Refused(NOT_VERIFIED)
        elif len(login.secret) > MAX_TOKEN or len(login.user) > MAX_USER:
            verdict = Refused(TOO_LONG)
        else:
            verdict = await verifier.verify(login)
        self._count(login.cluster, verdict)
        with contextlib.suppress(trio.WouldBlock, trio.BrokenResourceError):  # the counters have it, too
            self._judge.send_nowait(Judged(login.cluster, login.user[:MAX_USER], client_id, verdict))
        return verdict

    def _count(self, cluster: str, verdict: Verdict) -> None:
        statistics = self.statistics
        if isinstance(verdict, Accepted):
            statistics.accepted[cluster] += 1
            return
        statistics.refused[cluster, verdict.why] += 1
        if verdict.is_throttled:
            statistics.throttled[cluster] += 1
