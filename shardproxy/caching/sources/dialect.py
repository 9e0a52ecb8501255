"""What databases do differently, for sql.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from shardproxy.caching.sources.interface import SourceError
from shardproxy.config.statements import Statement


@dataclass(frozen=True, slots=True)
class Fault:
    """What a database says of a statement that it does not take."""

    message: str
    hint: str | None = None


Columns = tuple[str, ...] | None  # of what a statement answers; None where that is not known


class Dialect(Protocol):
    """One kind of database."""

    def engine(self, connections: int) -> Engine:
        """Make what connects, lazily, to at most so many."""

    def written(self, statement: Statement) -> str:
        """The statement as its driver reads it."""

    def bound(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Parameters as its driver takes them, such that the database decides on their types.

        Raise SourceRefusedError when one cannot be a value there.
        """

    def begin(self, connection: Any, key: str | None) -> None:
        """Begin a transaction that is to write, once no other one that began so with the same key is open."""

    def line(self, raw: Any, info: dict[Any, Any], until: float) -> Line:
        """What a connection is aborted by; its statements end at that time (time.monotonic) anyway."""

    def error(self, error: DBAPIError) -> SourceError:
        """Say who is at fault."""

    def is_no_key(self, error: DBAPIError) -> bool:
        """Whether a parameter cannot be a value of its column, so that there can be no such row."""

    def fault(self, raw: Any, sql: Statement) -> Fault | Columns:
        """Prepare a statement without executing it: what is wrong, or its columns."""


class Line(Protocol):
    """A connection in use by one thread, for another one."""

    def abort(self) -> None:
        """Have what is executed end now. Never blocks; the connection is of no use after it."""
