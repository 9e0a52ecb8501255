"""SQLite. A file that is not there is not made; one that is locked is waited for until the deadline.

Parameters keep their types but for parts of keys, which are text: SQLite compares text with a column of
numbers as a number.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from sqlalchemy import Engine, create_engine, event
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

SOONER = 0.9  # of the deadline: how long a lock is waited for
STEPS = 1000  # instructions of its machine between two looks at the clock

# By primary result code: who is at fault. All others, as SQLITE_ERROR (no such table), are for operators.
ERRORS: Mapping[int, type[SourceError]] = {
    sqlite3.SQLITE_INTERRUPT: SourceSlowError,
    sqlite3.SQLITE_CONSTRAINT: SourceRefusedError,  # a trigger's RAISE, too
    sqlite3.SQLITE_MISMATCH: SourceRefusedError,
    sqlite3.SQLITE_TOOBIG: SourceRefusedError,
    sqlite3.SQLITE_BUSY: SourceBusyError,
    sqlite3.SQLITE_LOCKED: SourceBusyError,
    sqlite3.SQLITE_CANTOPEN: SourceDownError,
    sqlite3.SQLITE_IOERR: SourceDownError,
    sqlite3.SQLITE_CORRUPT: SourceDownError,
    sqlite3.SQLITE_NOTADB: SourceDownError,
    sqlite3.SQLITE_FULL: SourceDownError,
    sqlite3.SQLITE_READONLY: SourceDownError,
    sqlite3.SQLITE_PERM: SourceDownError,
    sqlite3.SQLITE_NOMEM: SourceDownError,
}


class Sqlite:
    """One file."""

    def __init__(self, url: str, timeout: float) -> None:
        given = make_url(url)
        query = {"mode": "rw", **given.query, "uri": "true"}
        file = f"file:{quote(str(given.database))}"
        self.url: URL = given.set(drivername="sqlite+pysqlite", database=file, query=query)
        self.timeout = timeout

    def connect(self) -> sqlite3.Connection:
        """Connect beside the pool, in autocommit; raise sqlite3.Error."""
        named = {name: value for name, value in self.url.query.items() if name != "uri"}
        query = urlencode(named, doseq=True)
        place = f"{self.url.database}?{query}"
        return sqlite3.connect(place, self.timeout, uri=True, isolation_level=None, check_same_thread=False)

    def engine(self, connections: int) -> Engine:
        engine = create_engine(
            self.url,
            poolclass=QueuePool,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=self.timeout,
            hide_parameters=True,
            connect_args={
                "timeout": self.timeout * SOONER,
                "isolation_level": None,  # transactions begin where sql.py says
                "check_same_thread": False,
            },
        )
        event.listen(engine, "connect", _set_up)
        return engine

    def written(self, statement: Statement) -> str:
        return statement.written(lambda text: text, lambda name: f":{name}")

    def bound(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        return values

    def begin(self, connection: Any, key: str | None) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def line(self, raw: Any, info: dict[Any, Any], until: float) -> _Line:
        line = _Line(until)
        raw.set_progress_handler(line.is_over, STEPS)
        return line

    def error(self, error: DBAPIError) -> SourceError:
        code = getattr(error.orig, "sqlite_errorcode", None)
        said = " ".join(str(error.orig).split())
        kind = SourceRefusedError if code is None else ERRORS.get(code & 0xFF, SourceUnfitError)
        is_reason = kind in (SourceRefusedError, SourceUnfitError)
        return kind(said) if is_reason else kind("the database cannot be asked", said)

    def is_no_key(self, error: DBAPIError) -> bool:
        """It compares anything with anything."""
        return False

    def fault(self, raw: Any, sql: Statement) -> Fault | Columns:
        text = self.written(sql)
        values = dict.fromkeys(sql.names)
        try:
            raw.execute(f"EXPLAIN {text}", values)
            if not text.lstrip()[:6].lower().startswith(("select", "with", "values")):
                return None
            cursor = raw.execute(f"SELECT * FROM ({text.strip().rstrip(';')}\n) LIMIT 0", values)
        except sqlite3.Error as e:
            return Fault(" ".join(str(e).split()))
        return tuple(column[0] for column in cursor.description)


@dataclass(slots=True)
class _Line:
    """What the database asks now and then whether it should go on."""

    until: float

    def is_over(self) -> bool:
        return time.monotonic() >= self.until

    def abort(self) -> None:
        self.until = 0.0


def _set_up(raw: sqlite3.Connection, record: Any) -> None:
    raw.execute("PRAGMA foreign_keys = ON")
