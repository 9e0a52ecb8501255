"""Who may ask the admin API, who may act through it, and where is noted who did what."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from shardproxy.config.base import Section, refused
from shardproxy.config.inbound import GroupNames
from shardproxy.config.secrets import Secret
from shardproxy.config.tls import Tls

MIN_TOKEN = 16  # characters; `openssl rand -hex 32` gives 64
MAX_TOKENS = 100

_TOKEN_HINT = "write {name: ops, rights: act, file: /run/secrets/ops-token}"


class Rights(Enum):
    """What a caller of the admin API may do; `act` includes `read`."""

    READ = "read"
    ACT = "act"


class Loopback(Enum):
    """What a caller on the proxy's own machine may do without a token."""

    NONE = "none"
    READ = "read"
    ACT = "act"


CallerName = Annotated[
    str,
    Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9*][A-Za-z0-9._@*-]*$", examples=["grafana"]),
]


class AdminToken(Secret):
    """A bearer token: exactly one of `file` and `env` says where it is kept."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 3, "maxProperties": 3})

    name: CallerName
    """What the audit log calls whoever comes with it."""
    rights: Rights
    """`read`: pages and metrics; `act`: also what changes something, or has nodes work."""


class AdminCertificate(Section):
    """A client certificate, by a name in it."""

    name: CallerName
    """Its common name, or one of its alternative names (DNS, e-mail or URI)."""
    rights: Rights
    """`read`: pages and metrics; `act`: also what changes something, or has nodes work."""


def _no_literal(value: object) -> object:
    for token in value if isinstance(value, (list, tuple)) else ():
        if isinstance(token, str) or (isinstance(token, dict) and "token" in token):
            raise refused("a token is never written in the config", _TOKEN_HINT)
    return value


class AdminAccess(Section):
    """Who may ask the admin API. /livez and /readyz answer everybody whom `inbound` admits."""

    loopback: Loopback = Loopback.NONE
    """What whoever runs programs on this machine, or reaches a unix socket, may do without a token: `none`,
    `read` or `act`."""
    tokens: Annotated[
        tuple[AdminToken, ...],
        Field(max_length=MAX_TOKENS),
        BeforeValidator(_no_literal, json_schema_input_type=list[AdminToken]),
    ] = ()
    """Bearer tokens, as in `Authorization: Bearer ...`; at least 16 characters each."""
    certificates: Annotated[tuple[AdminCertificate, ...], Field(max_length=MAX_TOKENS)] = ()
    """Names in client certificates that `tls.client_ca` vouches for."""
    tls: Tls | None = None
    """How the admin API speaks TLS; it has one certificate."""

    inbound: GroupNames = ()
    """Security groups: only from the addresses they name, in rules without endpoints, may the admin API be
    asked, and over a unix socket. Default: from anywhere."""

    @model_validator(mode="after")
    def _somebody_may(self) -> Self:
        if not self.tokens and not self.certificates and self.loopback is Loopback.NONE:
            raise refused("nobody may ask the admin API", f"{_TOKEN_HINT} under tokens, or loopback: read")
        if self.certificates and (self.tls is None or self.tls.client_ca is None):
            raise refused(
                "certificates need tls with client_ca", "add tls: {certificate: ..., client_ca: ca.crt}"
            )
        if self.tls is not None and (self.tls.certificates or self.tls.user is not None):
            key = "certificates" if self.tls.certificates else "user"
            raise refused(f"tls.{key} has no meaning for the admin API", f"leave out {key}")
        names = [token.name for token in self.tokens]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise refused(f"two tokens have the name {twice[0]!r}", "the audit log could not tell them apart")
        return self


def _log_path(value: Any) -> Any:
    if isinstance(value, str) and value != "stdout" and not value.startswith("/"):
        raise refused(
            "must be stdout or the absolute path of a file", "write /var/log/shardproxy/audit.jsonl"
        )
    return value


class Audit(Section):
    """Who did what, and when: logins, refusals, changes of users and admin actions, a JSON object a line."""

    log: Annotated[
        str,
        Field(min_length=2, max_length=4000, examples=["/var/log/shardproxy/audit.jsonl", "stdout"]),
        BeforeValidator(_log_path, json_schema_input_type=str),
    ]
    """The file that is written to (it may be moved away: a new one is begun), or `stdout`."""
