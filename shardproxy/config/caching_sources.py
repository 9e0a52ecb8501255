"""Where caching loads from: a database, an HTTP server, or a function in Python."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from shardproxy.config.base import Section, refused
from shardproxy.config.durations import PositiveDuration
from shardproxy.config.secrets import Secret, not_literal
from shardproxy.config.tls import PemFile

MAX_CONNECTIONS = 1000
MAX_WAITING = 100_000

_POSTGRES = re.compile(r"postgresql(?:\+psycopg)?://", re.ASCII)
_SQLITE = re.compile(r"sqlite:///", re.ASCII)
_USER_INFO = re.compile(r"^[^:/]+://[^/@?#]*:[^/@?#]*@")
_IN_QUERY = re.compile(r"[?&](?:password|sslpassword)=", re.IGNORECASE)
_SQL_HINT = "write postgresql+psycopg://USER@HOST/DATABASE or sqlite:////PATH/TO/FILE"
_SECRET_HINT = "leave it out of the url, and write password: {file: ...} or {env: ...}"
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*|[A-Za-z0-9_.-]+", re.ASCII)


def _sql_url(text: str) -> str:
    if _USER_INFO.match(text) or _IN_QUERY.search(text):
        raise refused("a password is never written in the config", _SECRET_HINT)
    if _POSTGRES.match(text) is None and _SQLITE.match(text) is None:
        raise refused("is not the url of a database that is known", _SQL_HINT)
    if _SQLITE.match(text) and not re.match(r"sqlite:////[^?]", text):
        raise refused("is not an absolute path", "write four slashes: sqlite:////var/lib/app.db")
    return text


def _http_url(text: str) -> str:
    if "@" in text.split("://", 1)[-1].split("/", 1)[0]:
        raise refused("a password is never written in the config", "write token: {file: ...} or {env: ...}")
    if re.fullmatch(r"https?://[^/?#\s]+[^?#\s]*", text) is None:
        raise refused("is not the url of a server", "write it like https://users.example.com/v1")
    return text


def _function(text: str) -> str:
    if _FUNCTION.fullmatch(text) is None:
        raise refused("names no function", "write module:function, or the name of an entry point")
    return text


class Breaker(Section):
    """When a source that fails is no longer asked for a while."""

    failures: Annotated[int, Field(ge=1, le=1000)] = 5
    """Failures in a row after which it is left alone: no answer, no connection, too slow."""
    retry: PositiveDuration = 1.0
    """After how long one request tries it again. Doubles up to 30 s while that fails."""


class _Source(Section):
    """What all sources have."""

    connections: Annotated[int, Field(ge=1, le=MAX_CONNECTIONS)] = 10
    """How many requests of this proxy it answers at once, each on a connection of its own."""
    waiting: Annotated[int, Field(ge=0, le=MAX_WAITING)] = 100
    """How many more may wait for that. One beyond is refused at once."""
    timeout: PositiveDuration = 2.0
    """How long an answer may take, waiting for a connection included. Databases are told, too."""
    breaker: Breaker = Breaker.as_default()
    """When it is no longer asked for a while."""


class SqlSource(_Source):
    """A database: PostgreSQL or SQLite. Needs the extra `caching`."""

    url: Annotated[
        str,
        Field(
            max_length=4000,
            examples=["postgresql+psycopg://app@db/app", "sqlite:////var/lib/app.db"],
            json_schema_extra={"pattern": r"^(postgresql(\+psycopg)?|sqlite)://"},
        ),
        AfterValidator(_sql_url),
    ]
    """Which one, as SQLAlchemy writes it: postgresql+psycopg://USER@HOST/DATABASE?sslmode=verify-full or
    sqlite:////PATH."""
    password: Annotated[Secret, BeforeValidator(not_literal)] | None = None
    """The user's password: {file: ...} or {env: ...}."""

    @property
    def is_postgres(self) -> bool:
        return self.url.startswith("postgresql")

    @model_validator(mode="after")
    def _password_has_a_use(self) -> Self:
        if self.password is not None and not self.is_postgres:
            raise refused("SQLite asks for no password", "leave out password")
        return self


class HttpSource(_Source):
    """A server that answers GET with the value."""

    url: Annotated[
        str,
        Field(
            max_length=4000,
            examples=["https://users.example.com/v1"],
            json_schema_extra={"pattern": "^https?://"},
        ),
        AfterValidator(_http_url),
    ]
    """What comes before each rule's `path`."""
    token: Annotated[Secret, BeforeValidator(not_literal)] | None = None
    """Sent as Authorization: Bearer: {file: ...} or {env: ...}."""
    headers: Annotated[dict[str, str], Field(max_length=50, default_factory=dict)]
    """More headers, none of them secret."""
    ca: PemFile | None = None
    """A file of PEM: who signs the server's certificate. Default: whom the system trusts."""


class PythonSource(_Source):
    """A function of your own: `async def load(key: str, parts: Mapping[str, str])`, giving the value."""

    python: Annotated[
        str, Field(max_length=250, examples=["myapp.loaders:profile", "profile"]), AfterValidator(_function)
    ]
    """module:function, or the name of an entry point in the group `shardproxy.loaders`."""


# How a source is written; the names stand in the locations of errors.
SQL, HTTP, PYTHON = "a database", "a server", "a function"
SOURCE_FORMS: Mapping[str, type[Section]] = {SQL: SqlSource, HTTP: HttpSource, PYTHON: PythonSource}


def _form(value: object) -> str:
    for form, section in SOURCE_FORMS.items():
        if isinstance(value, section):
            return form
    values = value if isinstance(value, Mapping) else {}
    if "python" in values:
        return PYTHON
    return HTTP if str(values.get("url", "")).startswith(("http://", "https://")) else SQL


CachingSource = Annotated[
    Annotated[SqlSource, Tag(SQL)] | Annotated[HttpSource, Tag(HTTP)] | Annotated[PythonSource, Tag(PYTHON)],
    Discriminator(_form),
]
