"""The seam for logins that are no matter of a password: a verifier is asked, and answers in time.

    AUTH user secret ─> worker ─ offload ─> Verifiers.verify ─> the user's verifier ─> Accepted | Refused

Which verifier a user has is configured with the user. Off the path of requests: a client waits for its login.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, TypeAlias

import trio

from shardproxy.access.audit import NO_AUDIT, Audit
from shardproxy.access.sigv4 import MAX_TOKEN
from shardproxy.access.statistics import LoginStatistics

MAX_USER = 1024  # bytes

NOT_VERIFIED = "nobody verifies that user"
LEFT = "its client did not wait for the answer"
TOO_LONG = "user or secret is too long"
THROTTLED = "too many logins"


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


class Verifier(Protocol):
    """Decides about logins; always answers, and soon."""

    async def verify(self, login: Login) -> Verdict: ...


class Verifiers:
    """Those of all clusters. One writer: the app, at start and at reload."""

    def __init__(
        self,
        kind_of: Callable[[str, str], Kind | None],
        *,
        statistics: LoginStatistics | None = None,
        audit: Audit = NO_AUDIT,
    ) -> None:
        """`kind_of` tells how a user of a cluster is verified, now."""
        self.statistics = statistics or LoginStatistics()
        self._kind_of = kind_of
        self._audit = audit
        self._by_cluster: Mapping[str, Mapping[Kind, Verifier]] = {}

    def replace(self, by_cluster: Mapping[str, Mapping[Kind, Verifier]]) -> None:
        """From now on these; a login that is being verified is decided by who began."""
        self._by_cluster = by_cluster

    async def verify(self, login: Login, client_id: int = 0) -> Verdict:
        """Decide about a login, count it and note it."""
        user = login.user.decode("utf-8", "surrogateescape")
        kind = self._kind_of(login.cluster, user)
        verifier = self._by_cluster.get(login.cluster, {}).get(kind) if kind is not None else None
        verdict: Verdict
        if verifier is None:
            verdict = Refused(NOT_VERIFIED)
        elif len(login.secret) > MAX_TOKEN or len(login.user) > MAX_USER:
            verdict = Refused(TOO_LONG)
        else:
            try:
                verdict = await verifier.verify(login)
            except trio.Cancelled:
                self._tell(login, client_id, kind, Refused(LEFT))
                raise
        self._tell(login, client_id, kind, verdict)
        return verdict

    def _tell(self, login: Login, client_id: int, kind: Kind | None, verdict: Verdict) -> None:
        self._count(login.cluster, verdict)
        self._audit.note(
            "login_verified",
            cluster=login.cluster,
            user=login.user[:MAX_USER].decode("utf-8", "backslashreplace"),
            client=client_id,
            by=kind.value if kind is not None else "",
            verdict="accepted" if isinstance(verdict, Accepted) else "refused",
            why=verdict.why if isinstance(verdict, Refused) else "",
            principal=verdict.principal,
        )

    def _count(self, cluster: str, verdict: Verdict) -> None:
        statistics = self.statistics
        if isinstance(verdict, Accepted):
            statistics.accepted[cluster] += 1
            return
        statistics.refused[cluster, verdict.why] += 1
        if verdict.is_throttled:
            statistics.throttled[cluster] += 1
