"""PostgreSQL, through psycopg.

Parameters are sent untyped, so that the server takes them for what their columns are: the text 42 is a number
where one is compared. The server ends statements by itself a little before their deadline.
"""

from __future__ import annotations

import hashlib
import math
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import pq
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from shardproxy.caching.sources.dialect import Columns, Fault
from shardproxy.caching.sources.interface import (
    SourceBusyError,
    SourceDownError,
    SourceError,
    SourceRefusedError,
    SourceSlowError,
    SourceUnfitError,
)
from shardproxy.config.statements import Statement

SOONER = 0.9  # of the deadline: when the server gives up, the connection is kept
IDLE = 1.0  # seconds, and two deadlines, a transaction waits for COMMIT: less than a write's lease
MAX_REASON = 300  # characters
LINE = "shardproxy line"

# By SQLSTATE, or its class: who is at fault. All others, as 42 (no such table), are for operators.
ERRORS: Mapping[str, type[SourceError]] = {
    "57014": SourceSlowError,  # query_canceled: statement_timeout
    "55P03": SourceSlowError,  # lock_not_available: lock_timeout
    "25P03": SourceSlowError,  # idle_in_transaction_session_timeout
    "25006": SourceDownError,  # read_only_sql_transaction: it is a standby now
    "40": SourceBusyError,  # deadlocks, serialization
    "53": SourceBusyError,  # too many connections, no memory, no disk
    "57": SourceDownError,  # it shuts down, or starts
    "22": SourceRefusedError,  # data: not a number, too long
    "23": SourceRefusedError,  # constraints
    "44": SourceRefusedError,  # with check option
    "54": SourceRefusedError,  # program limits: too large for an index
    "P0001": SourceRefusedError,  # raise_exception: a trigger's own reason
    "08": SourceDownError,
    "28": SourceDownError,  # it refuses the login
    "3D": SourceDownError,  # it has no such database
    "58": SourceDownError,
    "XX": SourceDownError,
}
SAYS = {
    SourceSlowError: "the database did not answer in time",
    SourceBusyError: "the database could not now",
    SourceDownError: "the database cannot be asked",
}


class Postgres:
    """One database of a PostgreSQL."""

    def __init__(self, url: str, password: Callable[[], str | None], timeout: float) -> None:
        """`password` is asked for with each connection; it may raise SecretError."""
        self.url: URL = make_url(url).set(drivername="postgresql+psycopg")
        self.password = password
        self.timeout = timeout

    def engine(self, connections: int) -> Engine:
        engine = create_engine(
            self.url,
            poolclass=QueuePool,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=self.timeout,
            hide_parameters=True,
            connect_args=self._settings(),
        )
        event.listen(engine, "do_connect", self._log_in)
        event.listen(engine, "connect", _keep_line)
        event.listen(engine, "close", _drop_line)
        return engine

    def connect(self) -> psycopg.Connection[Any]:
        """Connect beside the pool, in autocommit; raise psycopg.Error or SecretError."""
        dialect: Any = PGDialect_psycopg  # it has no types
        _, values = dialect().create_connect_args(self.url)
        return psycopg.connect(autocommit=True, **{**values, **self._settings(), **self._secret()})

    def _settings(self) -> dict[str, Any]:
        """What is set for each connection where the url does not say otherwise."""
        milliseconds = max(1, round(self.timeout * 1000))
        limits = {
            "statement_timeout": max(1, round(milliseconds * SOONER)),
            "idle_in_transaction_session_timeout": 2 * milliseconds + round(IDLE * 1000),
        }
        given = self.url.query.get("options", "")
        own = [f"-c {name}={value}" for name, value in limits.items()]
        settings = {
            "connect_timeout": max(2, math.ceil(self.timeout)),  # the least that libpq knows
            "tcp_user_timeout": max(1000, milliseconds),
            "keepalives_idle": 30,
            "application_name": "shardproxy",
        }
        return {
            **{name: value for name, value in settings.items() if name not in self.url.query},
            "options": " ".join((*own, *((given,) if isinstance(given, str) else given))).strip(),
            "prepare_threshold": None,  # a prepared statement fails for good when its table is altered
        }

    def _secret(self) -> dict[str, str]:
        password = self.password()
        return {} if password is None else {"password": password}

    def _log_in(self, dialect: Any, record: Any, args: Any, values: dict[str, Any]) -> None:
        values.update(self._secret())

    def written(self, statement: Statement) -> str:
        return statement.written(lambda text: text.replace("%", "%%"), lambda name: f"%({name})s")

    def bound(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        return {name: _untyped(name, value) for name, value in values.items()}

    def begin(self, connection: Any, key: str | None) -> None:
        """The driver begins it with the first statement.

        Of a row that is not there yet a delete waits for nobody: it would overtake an insert whose COMMIT is
        on its way.
        """
        if key is not None:
            digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
            number = int.from_bytes(digest, "big", signed=True)
            connection.exec_driver_sql(f"select pg_advisory_xact_lock({number})")

    def line(self, raw: Any, info: dict[Any, Any], until: float) -> _Line:
        return _Line(info.get(LINE))

    def error(self, error: DBAPIError) -> SourceError:
        return error_of(error.orig)

    def is_no_key(self, error: DBAPIError) -> bool:
        """The server says so while it reads the parameters, before it executes anything."""
        diagnosis = getattr(error.orig, "diag", None)
        state = getattr(diagnosis, "sqlstate", None) or ""
        return state.startswith("22") and "portal parameter $" in (getattr(diagnosis, "context", None) or "")

    def fault(self, raw: psycopg.Connection[Any], sql: Statement) -> Fault | Columns:
        numbers = {name: f"${i}" for i, name in enumerate(sql.names, 1)}
        text = sql.written(lambda text: text, numbers.__getitem__)
        prepared = raw.pgconn.prepare(b"", text.encode())
        if prepared.status != pq.ExecStatus.COMMAND_OK:
            return _fault(prepared)
        described = raw.pgconn.describe_prepared(b"")
        if described.status != pq.ExecStatus.COMMAND_OK:
            return _fault(described)
        names = (described.fname(i) or b"" for i in range(described.nfields))
        return tuple(name.decode(errors="replace") for name in names)


def error_of(error: BaseException | None) -> SourceError:
    """Who is at fault, by what the driver says. No text has a parameter or a password in it."""
    state = getattr(error, "sqlstate", None)
    if not isinstance(error, psycopg.Error) or state is None:
        if isinstance(error, (psycopg.DataError, psycopg.ProgrammingError)):
            return SourceRefusedError(one_line(str(error)))
        return SourceDownError("the database does not answer", one_line(str(error)))
    kind = ERRORS.get(state) or ERRORS.get(state[:2], SourceUnfitError)
    said = one_line(error.diag.message_primary or str(error))
    return kind(SAYS[kind], said) if kind in SAYS else kind(said)


def one_line(text: str) -> str:
    """A reason as clients are told it."""
    return " ".join(text.split())[:MAX_REASON]


def _untyped(name: str, value: Any) -> Any:
    """Text, which the server reads as whatever the place of the parameter wants."""
    match value:
        case None:
            return None
        case bytes():
            return value  # of type bytea
        case bool():
            return "true" if value else "false"
        case str() if "\0" in value:
            raise SourceRefusedError(f"the database has no text with NUL in it, as :{name} has")
        case str():
            return value
    return str(value)


@dataclass(frozen=True, slots=True)
class _Line:
    """The connection's socket, under a number of our own: it is no other's when theirs is closed."""

    socket: socket.socket | None

    def abort(self) -> None:
        if self.socket is not None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)


def _keep_line(raw: psycopg.Connection[Any], record: Any) -> None:
    record.info[LINE] = socket.socket(fileno=os.dup(raw.fileno()))


def _drop_line(raw: Any, record: Any) -> None:
    if (line := record.info.pop(LINE, None)) is not None:
        line.close()


def _fault(result: pq.abc.PGresult) -> Fault:
    def said(field: pq.DiagnosticField) -> str | None:
        text = result.error_field(field)
        return one_line(text.decode(errors="replace")) if text else None

    return Fault(
        said(pq.DiagnosticField.MESSAGE_PRIMARY) or "is refused",
        said(pq.DiagnosticField.MESSAGE_HINT) or said(pq.DiagnosticField.MESSAGE_DETAIL),
    )
