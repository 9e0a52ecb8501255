"""What connections to nodes log in with: what is configured, or a token that is signed now and then.

A connection that is open stays as it is: what a token is good for is to log in.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from shardproxy.access.sigv4 import Signer, token_make
from shardproxy.config import Credentials, NodeIdentity
from shardproxy.dataplane.spec import ClusterSettings

RENEW_AFTER = 300.0  # seconds of the 900 that a token is good for: clocks differ, and renewing may fail


@dataclass(frozen=True, slots=True)
class _Signed:
    credentials: Credentials
    at: float  # seconds since the epoch

    def is_fresh(self, now: float) -> bool:
        return 0 <= now - self.at < RENEW_AFTER


class NodeTokens:
    """Signs tokens, and keeps each as long as it is fresh. `clock` tells the time that they name."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._signed: dict[NodeIdentity, _Signed] = {}

    def credentials(self, settings: ClusterSettings) -> Credentials | None:
        """What a cluster's nodes are logged in to with from now on; nothing where they ask for nothing."""
        return settings.credentials if settings.iam is None else self._token(settings.iam)

    def _token(self, identity: NodeIdentity) -> Credentials:
        now = self._clock()
        known = self._signed.get(identity)
        if known is None or not known.is_fresh(now):
            self._signed = {of: signed for of, signed in self._signed.items() if signed.is_fresh(now)}
            known = _Signed(Credentials(identity.user, token_make(_signer(identity), now)), now)
            self._signed[identity] = known
        return known.credentials


def login_now(settings: ClusterSettings) -> Credentials | None:
    """The same for who logs in but once."""
    return NodeTokens().credentials(settings)


def _signer(identity: NodeIdentity) -> Signer:
    return Signer(
        identity.user,
        identity.cluster,
        identity.region,
        identity.access_key_id,
        identity.secret_access_key,
        identity.session_token,
        is_serverless=identity.is_serverless,
    )
