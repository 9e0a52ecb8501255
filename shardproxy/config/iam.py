"""IAM in the config: whose tokens let users in, whom to ask about others, and how nodes are logged in to."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from shardproxy.config.base import Section, refused
from shardproxy.config.durations import Duration, PositiveDuration
from shardproxy.config.secrets import Secret, not_literal

MAX_SESSION = 12 * 3600.0  # seconds after which ElastiCache ends a connection

# Names are compared with what tokens say, which is lower case: a host is.
CacheName = Annotated[
    str,
    StringConstraints(to_lower=True),
    Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", examples=["my-cache"]),
]
Region = Annotated[
    str, Field(min_length=1, max_length=50, pattern=r"^[a-z0-9-]+$", examples=["eu-central-1"])
]
SecretPlace = Annotated[Secret, BeforeValidator(not_literal, json_schema_input_type=Secret)]
AccessKeyId = Annotated[
    str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_]+$", examples=["AKIAIOSFODNN7EXAMPLE"])
]


class Iam(Section):
    """Users who log in by IAM token, as ElastiCache has them: `iam: true` with the user."""

    keys: Annotated[str, Field(min_length=1, max_length=4000, examples=["/etc/shardproxy/iam.yaml"])]
    """File with the access keys whose tokens count, and what each may connect to. Relative to this file."""
    cluster: CacheName | None = None
    """The cluster's name in tokens and policies. Default: its name here, in lower case."""
    region: Region
    """Region that tokens are signed for and policies name."""
    service: Literal["elasticache", "memorydb"] = "elasticache"
    """Service that tokens are signed for and policies name."""
    serverless: bool = False
    """Whether tokens have ResourceType=ServerlessCache, and policies name a serverlesscache."""
    session: PositiveDuration = MAX_SESSION
    """How long a login lasts; AUTH or HELLO with a fresh token prolongs it."""

    @model_validator(mode="after")
    def _serverless_is_elasticache(self) -> Self:
        if self.serverless and self.service != "elasticache":
            raise refused("memorydb has no serverless caches", "leave out serverless")
        return self


def _as_url(value: str) -> str:
    """Passwords travel in what is posted there."""
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if not host or parts.scheme not in ("https", "http"):
        raise refused("is not a URL", "write it like https://logins.example.com/verify")
    if parts.username is not None or parts.password is not None:
        raise refused("a password is never written in the config", "leave out what stands before the @")
    if parts.scheme == "http" and not _is_loopback(host):
        raise refused(
            "would have passwords travel unencrypted", "write https://; http:// is for this machine alone"
        )
    return value


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


Url = Annotated[
    str, Field(max_length=2000, examples=["https://logins.example.com/verify"]), AfterValidator(_as_url)
]


class Verifier(Section):
    """A service that is asked whether a user may log in: `external: true` with the user.

    Posted is {"cluster", "user", "secret", "address"}; answered is 200 and {"allow": true}, where
    "seconds" says for how long that counts for the same secret, at most `cache`.
    """

    url: Url
    """Where to ask."""
    timeout: PositiveDuration = 2.0
    """For the answer to be there; a login without one by then is refused, as is one whose turn to ask has not
    come within as long."""
    cache: Duration = 60.0
    """How long a secret that was accepted is accepted without asking again. 0 = always ask."""


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """What tokens for nodes are signed with, secrets read."""

    user: str
    cluster: str
    region: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    is_serverless: bool = False


class NodeIam(Section):
    """An IAM user of a real ElastiCache, as which the proxy logs in to its nodes."""

    user: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^\S+$", examples=["iam-user-01"])]
    """ElastiCache's user, with authentication mode IAM."""
    cluster: CacheName
    """Name of the replication group or serverless cache."""
    region: Region
    """Region the cluster is in."""
    access_key_id: AccessKeyId
    """Access key that signs."""
    secret_access_key: SecretPlace
    """Where its secret is kept."""
    session_token: SecretPlace | None = None
    """Where the session token is kept that goes with a temporary access key."""
    serverless: bool = False
    """Whether it is a serverless cache."""

    def read(self) -> NodeIdentity:
        """Fetch the secrets now; raise SecretError."""
        return NodeIdentity(
            self.user,
            self.cluster,
            self.region,
            self.access_key_id,
            self.secret_access_key.read(),
            self.session_token.read() if self.session_token is not None else None,
            self.serverless,
        )
