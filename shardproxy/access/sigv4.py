"""ElastiCache's IAM token: a presigned GET by AWS' Signature Version 4, without its scheme. Pure.

    my-cache/?Action=connect&User=app&X-Amz-Algorithm=...&X-Amz-Credential=...&X-Amz-Signature=...

Signers differ in the order of parameters and in what they percent-encode, so the canonical request is made
anew from what the parameters say. Whose a secret is, and what for, is decided by others. The date in a token
is one of calendars, so whoever verifies has to look at the wall clock.
"""

from __future__ import annotations

import calendar
import hashlib
import hmac
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import quote_from_bytes, unquote_to_bytes

ALGORITHM = "AWS4-HMAC-SHA256"
TERMINATOR = "aws4_request"
ELASTICACHE, MEMORYDB = "elasticache", "memorydb"  # whose tokens are alike
SERVERLESS = "ServerlessCache"
EXPIRES = 900  # seconds; ElastiCache takes no token that is to be valid for longer
SKEW = 300.0  # seconds that clocks may differ; AWS' limit
MAX_TOKEN = 16_384  # bytes of an argument that Redis takes before a client has logged in
MAX_PARAMETERS = 32  # signers write 8 to 11

_EMPTY = hashlib.sha256(b"").hexdigest()  # the body of a GET
_HOST = re.compile(r"[a-z0-9][a-z0-9._-]{0,254}")
_QUERY = re.compile(rb'(?:[!"$&-~]|%[0-9A-Fa-f]{2})*')  # printable, and no `#`: a query ends there
_SIGNATURE = re.compile(r"[0-9a-f]{64}")
_DATE = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_NUMBER = re.compile(r"[1-9]\d{0,8}", re.ASCII)


class Fault(Enum):
    """Why a token is refused. Clients hear none of it."""

    TOO_LONG = "token is too long"
    MALFORMED = "not a presigned request"
    REPEATED = "a parameter is given twice"
    INCOMPLETE = "a parameter is missing"
    ACTION = "another action than connect"
    RESOURCE_TYPE = "unknown resource type"
    SERVERLESS = "signed for another kind of cache"
    ALGORITHM = "unknown algorithm"
    HEADERS = "signed headers are not host"
    SCOPE = "malformed credential scope"
    SERVICE = "signed for another service"
    REGION = "signed for another region"
    HOST = "signed for another cluster"
    USER = "signed for another user"
    LIFETIME = "to be valid for too long"
    DATE = "malformed date"
    FUTURE = "signed in the future"
    EXPIRED = "token has expired"
    UNKNOWN_KEY = "unknown access key"
    SESSION = "session token is not that key's"
    SESSION_EXPIRED = "session of that key has expired"
    SIGNATURE = "wrong signature"
    POLICY = "no policy allows it"


class TokenError(Exception):
    """A token that is not accepted."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Scope:
    """For what a signing key is good: a day, a region, a service."""

    date: str  # YYYYMMDD
    region: str
    service: str

    def __str__(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/{TERMINATOR}"


@dataclass(frozen=True, slots=True)
class Token:
    """What a token says. Nothing of it is true before its signature is."""

    host: str
    user: bytes
    access_key_id: str
    scope: Scope
    stamp: str  # YYYYMMDD'T'HHMMSS'Z'
    signed_at: float  # seconds since the epoch
    expires: int  # seconds
    is_serverless: bool
    query: str = field(repr=False)  # canonical, without the signature
    signature: str = field(repr=False)
    session_token: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Expected:
    """Where and as whom somebody logs in, and what time it is.

    What a token says of these has to be the same, so whoever signs one chooses nothing of it.
    """

    host: str
    user: bytes
    now: float  # seconds since the epoch
    region: str
    service: str = ELASTICACHE
    is_serverless: bool = False


@dataclass(frozen=True, slots=True)
class Signer:
    """Whose tokens are made, and for what."""

    user: str
    cluster: str
    region: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    service: str = ELASTICACHE
    is_serverless: bool = False


def token_read(text: bytes) -> Token:
    """Take a token apart; raise TokenError for what no signer writes."""
    if len(text) > MAX_TOKEN:
        raise TokenError(Fault.TOO_LONG)
    host, separator, query = text.partition(b"/?")
    name = host.decode("latin-1").lower()
    if not separator or not _HOST.fullmatch(name):
        raise TokenError(Fault.MALFORMED)
    given = _parameters(query)
    signature = _text(given.pop("X-Amz-Signature", b""))
    if not signature:
        raise TokenError(Fault.INCOMPLETE)
    if not _SIGNATURE.fullmatch(signature):
        raise TokenError(Fault.SIGNATURE)
    _demand(given, "Action", "connect", Fault.ACTION)
    _demand(given, "X-Amz-Algorithm", ALGORITHM, Fault.ALGORITHM)
    _demand(given, "X-Amz-SignedHeaders", "host", Fault.HEADERS)
    if given.get("ResourceType", SERVERLESS.encode()) != SERVERLESS.encode():
        raise TokenError(Fault.RESOURCE_TYPE)
    access_key_id, scope = _credential(_needed(given, "X-Amz-Credential"))
    stamp = _text(_needed(given, "X-Amz-Date"))
    return Token(
        host=name,
        user=_needed(given, "User"),
        access_key_id=access_key_id,
        scope=scope,
        stamp=stamp,
        signed_at=_instant(stamp),
        expires=_lifetime(_needed(given, "X-Amz-Expires")),
        is_serverless="ResourceType" in given,
        query=canonical_query(given.items()),
        signature=signature,
        session_token=given.get("X-Amz-Security-Token"),
    )


def why_not_meant(token: Token, expected: Expected) -> Fault | None:
    """Why a token, be it genuine, is not for this login, or None."""
    if token.host != expected.host.lower():
        return Fault.HOST
    if token.user != expected.user:
        return Fault.USER
    if token.scope.service != expected.service:
        return Fault.SERVICE
    if token.scope.region != expected.region:
        return Fault.REGION
    if token.is_serverless is not expected.is_serverless:
        return Fault.SERVERLESS
    if token.scope.date != token.stamp[:8]:
        return Fault.SCOPE
    if token.expires > EXPIRES:
        return Fault.LIFETIME
    if token.signed_at - expected.now > SKEW:
        return Fault.FUTURE
    if expected.now - token.signed_at > token.expires + SKEW:
        return Fault.EXPIRED
    return None


def is_signed_with(token: Token, secret_access_key: str) -> bool:
    """Whether the holder of that secret made the token, as it is."""
    wanted = sign(secret_access_key, token.scope, token.stamp, token.host, token.query)
    return hmac.compare_digest(wanted, token.signature)


def token_make(signer: Signer, now: float) -> str:
    """Make a token that is valid from that second for 15 minutes."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    scope = Scope(stamp[:8], signer.region, signer.service)
    given = {
        "Action": "connect",
        "User": signer.user,
        **({"ResourceType": SERVERLESS} if signer.is_serverless else {}),
        "X-Amz-Algorithm": ALGORITHM,
        "X-Amz-Credential": f"{signer.access_key_id}/{scope}",
        "X-Amz-Date": stamp,
        "X-Amz-Expires": str(EXPIRES),
        "X-Amz-SignedHeaders": "host",
        **({"X-Amz-Security-Token": signer.session_token} if signer.session_token is not None else {}),
    }
    query = canonical_query((name, value.encode()) for name, value in given.items())
    host = signer.cluster.lower()
    return f"{host}/?{query}&X-Amz-Signature={sign(signer.secret_access_key, scope, stamp, host, query)}"


def canonical_query(given: Iterable[tuple[str, bytes]]) -> str:
    """Encode parameters as AWS does before it signs: everything but A-Z a-z 0-9 - . _ ~, sorted by name."""
    encoded = sorted((_encode(name.encode("latin-1")), _encode(value)) for name, value in given)
    return "&".join(f"{name}={value}" for name, value in encoded)


def sign(secret_access_key: str, scope: Scope, stamp: str, host: str, query: str) -> str:
    """The signature of a GET of `/` at a host, in hexadecimal digits."""
    request = f"GET\n/\n{query}\nhost:{host}\n\nhost\n{_EMPTY}"
    digest = hashlib.sha256(request.encode()).hexdigest()
    key = f"AWS4{secret_access_key}".encode()
    for part in (scope.date, scope.region, scope.service, TERMINATOR):
        key = _hmac(key, part)
    return _hmac(key, f"{ALGORITHM}\n{stamp}\n{scope}\n{digest}").hex()


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def _parameters(query: bytes) -> dict[str, bytes]:
    """The parameters by name, decoded."""
    pairs = query.split(b"&", MAX_PARAMETERS)
    if len(pairs) > MAX_PARAMETERS or not _QUERY.fullmatch(query):
        raise TokenError(Fault.MALFORMED)
    given: dict[str, bytes] = {}
    for pair in pairs:
        name, separator, value = pair.partition(b"=")
        decoded = _decode(name).decode("latin-1")
        if not separator or not decoded:
            raise TokenError(Fault.MALFORMED)
        if decoded in given:
            raise TokenError(Fault.REPEATED)
        given[decoded] = _decode(value)
    return given


def _decode(word: bytes) -> bytes:
    """Undo the encoding of a form or a URL: Java writes a space as `+`; .NET writes escapes small."""
    return unquote_to_bytes(word.replace(b"+", b" "))


def _encode(word: bytes) -> str:
    return quote_from_bytes(word, safe="-._~")


def _text(word: bytes) -> str:
    """ASCII, for comparing and splitting; anything else matches nothing."""
    return word.decode("ascii", "replace")


def _needed(given: Mapping[str, bytes], name: str) -> bytes:
    value = given.get(name)
    if not value:
        raise TokenError(Fault.INCOMPLETE)
    return value


def _demand(given: Mapping[str, bytes], name: str, value: str, fault: Fault) -> None:
    if _needed(given, name) != value.encode():
        raise TokenError(fault)


def _credential(word: bytes) -> tuple[str, Scope]:
    parts = _text(word).split("/")
    if len(parts) != 5 or not all(parts) or parts[4] != TERMINATOR:
        raise TokenError(Fault.SCOPE)
    access_key_id, date, region, service, _ = parts
    return access_key_id, Scope(date, region, service)


def _instant(stamp: str) -> float:
    if not _DATE.fullmatch(stamp):
        raise TokenError(Fault.DATE)
    try:
        return float(calendar.timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ")))
    except ValueError:
        raise TokenError(Fault.DATE) from None


def _lifetime(word: bytes) -> int:
    text = _text(word)
    if not _NUMBER.fullmatch(text):
        raise TokenError(Fault.LIFETIME)
    return int(text)
