"""Who asks the admin API, and what they may do. Pure: knows nothing of pages.

    token ─────────┐
    certificate ───┼─> caller: a name for the audit log, and rights
    this machine ──┘

Where the config says nothing of it, whoever reaches the admin API may look, and this machine may act.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from shardproxy.admin.guard import is_loopback
from shardproxy.config import AdminAccess, Loopback, Rights, SecretError
from shardproxy.config.admin import MIN_TOKEN

SCHEME = "bearer"


class Right(IntEnum):
    """Each includes those before it."""

    NONE = 0
    LOOK = 1  # what tells no key, request or config (rights.py)
    READ = 2
    ACT = 3


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody, as the audit log calls them."""

    name: str
    right: Right


@dataclass(frozen=True, slots=True)
class _Token:
    name: str
    right: Right
    digest: bytes = field(repr=False)


RIGHTS = {Rights.READ: Right.READ, Rights.ACT: Right.ACT}
LOOPBACKS = {Loopback.NONE: Right.NONE, Loopback.READ: Right.READ, Loopback.ACT: Right.ACT}


@dataclass(frozen=True, slots=True)
class Callers:
    """All who may ask."""

    here: Right = Right.ACT  # this machine, without a token
    elsewhere: Right = Right.LOOK
    tokens: tuple[_Token, ...] = ()
    certificates: Mapping[str, Right] = field(default_factory=dict)  # by a name in it

    @property
    def is_open(self) -> bool:
        """Whether the config says nothing of it."""
        return self.elsewhere is not Right.NONE

    @classmethod
    def read(cls, access: AdminAccess | None) -> Callers:
        """Read the tokens now; raise SecretError."""
        if access is None:
            return cls()
        tokens = []
        for token in access.tokens:
            secret = token.read()
            if len(secret) < MIN_TOKEN:
                raise SecretError(
                    f"the token {token.name} in {token.place} has fewer than {MIN_TOKEN} characters"
                )
            tokens.append(_Token(token.name, RIGHTS[token.rights], _digest(secret)))
        certificates = {one.name: RIGHTS[one.rights] for one in access.certificates}
        return cls(LOOPBACKS[access.loopback], Right.NONE, tuple(tokens), certificates)

    def identify(self, peer: str, authorization: str | None, names: Iterable[str] = ()) -> Caller | None:
        """Who asks; None: nobody known, as who comes with a token that is wrong.

        `peer`: the client's IP, empty on a unix socket; `names`: those in its certificate, once verified.
        """
        if authorization is not None and self.tokens:
            return self._by_token(authorization)
        known = [(self.certificates[name], name) for name in names if name in self.certificates]
        if known:
            right, name = max(known)
            return Caller(name, right)
        right = self.here if not peer or is_loopback(peer) else self.elsewhere
        return Caller(peer or "unix socket", right) if right else None

    def _by_token(self, authorization: str) -> Caller | None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != SCHEME:
            return None
        digest, found = _digest(token.strip()), None
        for one in self.tokens:  # all of them, so that the time does not tell which
            if hmac.compare_digest(one.digest, digest):
                found = Caller(one.name, one.right)
        return found


EVERYBODY = Callers()


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
