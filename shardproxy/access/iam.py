"""Decides about a login by IAM token: whose key signed it, for whom, when, and what that key may do."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from shardproxy.access.iam_keys import AccessKey, KeyStore
from shardproxy.access.policies import is_connect_allowed
from shardproxy.access.sigv4 import (
    ELASTICACHE,
    Expected,
    Fault,
    Token,
    TokenError,
    is_signed_with,
    token_read,
    why_not_meant,
)
from shardproxy.access.throttle import Throttle, of_failures, of_users, origin_of
from shardproxy.access.verifiers import THROTTLED, Accepted, Login, Refused, Verdict

ADDRESS_WAIT = 1.0  # seconds; a client of whom it is not known by then counts among those that left


def monotonic() -> float:
    return trio.current_time()


@dataclass(frozen=True, slots=True)
class IamVerifier:
    """Verifies tokens for one cluster against a key store."""

    keys: KeyStore
    cluster: str  # as tokens and policies name it, as what follows
    region: str
    service: str = ELASTICACHE
    is_serverless: bool = False
    logins: Throttle = field(default_factory=of_users, compare=False)
    failures: Throttle = field(default_factory=of_failures, compare=False)
    wall: Callable[[], float] = field(default=time.time, compare=False)  # tokens name dates
    clock: Callable[[], float] = field(default=monotonic, compare=False)

    async def verify(self, login: Login) -> Verdict:
        """Decide at once: nobody else has to be asked.

        A token is judged before it is counted, which takes less than a tenth of a millisecond: what others
        fail at leaves a user its own logins.
        """
        now = self.wall()
        expected = Expected(self.cluster, login.user, now, self.region, self.service, self.is_serverless)
        verdict = token_judge(login.secret, expected, self.keys)
        if isinstance(verdict, Accepted):
            is_within = self.logins.is_taken(login.user, self.clock())
        else:
            origin = await _origin(login)
            is_within = self.failures.is_taken((login.user, origin), self.clock())
        return verdict if is_within else Refused(THROTTLED, verdict.principal, is_throttled=True)


async def _origin(login: Login) -> str:
    address = ""
    with trio.move_on_after(ADDRESS_WAIT):
        address = await login.find_address()
    return origin_of(address)


def token_judge(text: bytes, expected: Expected, keys: KeyStore) -> Verdict:
    """Decide about a token. Who it is from is said only once its signature has been found right."""
    try:
        token = token_read(text)
    except TokenError as error:
        return Refused(error.fault.value)
    if (fault := why_not_meant(token, expected)) is not None:
        return Refused(fault.value)
    key = keys.find(token.access_key_id)
    if key is None:
        return Refused(Fault.UNKNOWN_KEY.value)
    if not is_signed_with(token, key.secret_access_key):
        return Refused(Fault.SIGNATURE.value)
    if (fault := why_no_session(token, key, expected.now)) is not None:
        return Refused(fault.value, key.principal)
    if not is_connect_allowed(key.statements, expected, key.account):
        return Refused(Fault.POLICY.value, key.principal)
    return Accepted(key.principal)


def why_no_session(token: Token, key: AccessKey, now: float) -> Fault | None:
    """Why a temporary key, or one that is not, does not go with the session token that was sent."""
    sent = token.session_token if token.session_token is not None else b""
    if not hmac.compare_digest(sent, (key.session_token or "").encode()):
        return Fault.SESSION
    if (token.session_token is None) != (key.session_token is None):
        return Fault.SESSION
    return Fault.SESSION_EXPIRED if key.expires is not None and key.expires <= now else None
