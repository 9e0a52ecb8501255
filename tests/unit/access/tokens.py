"""Makers of IAM tokens: botocore as redis-py documents it, and what Java's two SDKs write."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from unittest import mock
from urllib.parse import ParseResult, quote, urlencode, urlunparse

import botocore.auth
import botocore.session
import redis
from botocore.credentials import Credentials
from botocore.model import ServiceId
from botocore.signers import RequestSigner

from shardproxy.access.sigv4 import Scope, canonical_query, sign

KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SESSION = "IQoJb3JpZ2luX2VjEA==/+" + "aB3/+=" * 150  # as long as those of roles, and as full of escapes
CLUSTER, USER, REGION = "my-cache", "iam-user-01", "us-east-1"
NOW = 1_795_414_717.0  # 2026-11-23T06:18:37Z


class Provider(redis.CredentialProvider):
    """What redis-py's documentation shows for ElastiCache."""

    def __init__(
        self,
        user: str = USER,
        cluster: str = CLUSTER,
        *,
        region: str = REGION,
        service: str = "elasticache",
        session: str | None = None,
        is_serverless: bool = False,
        expires: int = 900,
    ) -> None:
        self._user, self._cluster, self._region = user, cluster, region
        self._query = {"Action": "connect", "User": user}
        if is_serverless:
            self._query["ResourceType"] = "ServerlessCache"
        self._expires = expires
        self._session = botocore.session.get_session()  # the signer only borrows from it
        self._signer = RequestSigner(
            ServiceId(service),
            region,
            service,
            "v4",
            Credentials(KEY_ID, SECRET, session),
            self._session.get_component("event_emitter"),
        )

    def get_credentials(self) -> tuple[str, str]:
        url = urlunparse(ParseResult("https", self._cluster, "/", "", urlencode(self._query), ""))
        request = {"method": "GET", "url": url, "body": {}, "headers": {}, "context": {}}
        signed = self._signer.generate_presigned_url(
            request, "connect", region_name=self._region, expires_in=self._expires
        )
        return self._user, signed.removeprefix("https://")


def token_of(now: float = NOW, **options: object) -> bytes:
    """A token that botocore signed at that time."""
    at = datetime.fromtimestamp(now, UTC)
    with mock.patch.object(botocore.auth, "get_current_datetime", return_value=at):
        return Provider(**options).get_credentials()[1].encode()  # type: ignore[arg-type]


def java(
    seed: int = 0, *, is_second: bool = False, user: str = USER, session: str | None = None, now: float = NOW
) -> bytes:
    """A token as Java writes it: parameters in the order of a hash map; the first SDK encodes as forms do."""
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = Scope(stamp[:8], REGION, "elasticache")
    given = {
        "Action": "connect",
        "User": user,
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Date": stamp,
        "X-Amz-SignedHeaders": "host",
        "X-Amz-Expires": "899",
        "X-Amz-Credential": f"{KEY_ID}/{scope}",
    }
    if session is not None:
        given["X-Amz-Security-Token"] = session
    query = canonical_query((name, value.encode()) for name, value in given.items())
    given["X-Amz-Signature"] = sign(SECRET, scope, stamp, CLUSTER, query)
    names = sorted(given)
    random.Random(seed).shuffle(names)
    safe = "-._~" if is_second else "-._~!'()*"
    pairs = (f"{name}={quote(given[name], safe=safe)}" for name in names)
    text = f"{CLUSTER}/?{'&'.join(pairs)}"
    return (text if is_second else text.replace("%20", "+")).encode()
