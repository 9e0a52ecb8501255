"""A database as a source, through SQLAlchemy.

Its drivers block, so each statement runs in a thread of its own, at most `connections` of them. Whoever gives
up on one aborts its connection: the thread then ends by itself, and hands back nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import trio
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from shardproxy.caching.sources.dialect import Dialect, Line
from shardproxy.caching.sources.interface import (
    Given,
    Operation,
    Parts,
    Rows,
    SourceBusyError,
    SourceDownError,
    SourceError,
    SourceRefusedError,
    SourceSlowError,
    SourceUnfitError,
    WriteOf,
    Writing,
)
from shardproxy.caching.sources.turns import Turns, in_time
from shardproxy.config.caching import KEY, VALUE, VALUE_BYTES, Form
from shardproxy.config.secrets import SecretError
from shardproxy.config.statements import Statement, read_statement

if TYPE_CHECKING:
    from shardproxy.caching.rules import Rule

MAX_ROWS = 100_000  # of an answer; a value of more is no cache's
T = TypeVar("T")

read = lru_cache(maxsize=4096)(read_statement)  # as many as there are rules, with their writes


class _AbortedError(Exception):
    """Nobody waits for this any more."""


class _Use:
    """One use of a connection by one thread after another; anybody may abort it."""

    def __init__(self, dialect: Dialect, engine: Engine) -> None:
        self._dialect = dialect
        self._engine = engine
        self._lock = threading.Lock()
        self._is_aborted = False
        self._is_running = False
        self._is_spoiled = False  # the connection is not to be used again
        self._line: Line | None = None
        self._connection: Connection | None = None

    def step(self, work: Callable[[Connection], T], until: float, *, autocommit: bool = False) -> T:
        """In a thread: do something with the connection, and keep it; raise SourceError.

        `until` is of time.monotonic: what databases are told.
        """
        with self._lock:
            if self._is_aborted:
                raise _AbortedError
            self._is_running = True
        try:
            if self._connection is None:
                return self._first(work, until, autocommit)
            self._watch(self._connection, until)
            return work(self._connection)
        except PoolTimeoutError:
            raise SourceBusyError("the source had no connection free in time") from None
        except DBAPIError as e:
            error = self._dialect.error(e)
            self._is_spoiled = isinstance(error, SourceDownError)  # as that to a primary of before
            raise error from e
        except SecretError as e:
            raise SourceDownError("the database cannot be asked", str(e)) from None
        except (OverflowError, ValueError) as e:  # drivers' own, of parameters
            raise SourceRefusedError(f"a value cannot be sent to the database: {type(e).__name__}") from None
        except SQLAlchemyError as e:
            raise SourceUnfitError(f"the statement cannot be executed: {type(e).__name__}") from None
        finally:
            with self._lock:
                self._is_running = False
            if self.is_aborted():
                self.end()

    def _first(self, work: Callable[[Connection], T], until: float, autocommit: bool) -> T:
        """Connect; again where the connection at hand had been lost while nobody used it."""
        try:
            return work(self._connected(until, autocommit))
        except DBAPIError as e:
            if not e.connection_invalidated or self.is_aborted():
                raise
        self._hand_back()
        return work(self._connected(until, autocommit))

    def _connected(self, until: float, autocommit: bool) -> Connection:
        connection = self._connection = self._engine.connect()
        if autocommit:
            connection.execution_options(isolation_level="AUTOCOMMIT")
        self._watch(connection, until)
        return connection

    def _watch(self, connection: Connection, until: float) -> None:
        """Have what is executed next end by then, or when it is aborted."""
        held = connection.connection
        line = self._dialect.line(held.dbapi_connection, held.info, until)
        with self._lock:
            self._line = line
        if self.is_aborted():
            raise _AbortedError

    def is_aborted(self) -> bool:
        return self._is_aborted

    def abort(self) -> None:
        """End what is executed; the thread that is at it hands the connection back."""
        with self._lock:
            self._is_aborted = True
            if self._is_running and self._line is not None:
                self._line.abort()

    def end(self) -> None:
        """In a thread: undo what is not committed, and hand the connection back. Never raises."""
        with self._lock:
            if self._is_running:  # that thread does
                self._is_aborted = True
                return
        self._hand_back()

    def _hand_back(self) -> None:
        with self._lock:
            connection, self._connection, self._line = self._connection, None, None
        if connection is None:
            return
        try:
            if self._is_aborted or self._is_spoiled:
                connection.invalidate()
            connection.close()
        except SQLAlchemyError:
            with suppress(SQLAlchemyError):
                connection.invalidate()


class SqlSource:
    """A database."""

    def __init__(self, dialect: Dialect, turns: Turns, timeout: float) -> None:
        self.dialect = dialect
        self.engine = dialect.engine(turns.most)
        self._turns = turns
        self._timeout = timeout
        self._threads = trio.CapacityLimiter(turns.most)
        self._ending = trio.CapacityLimiter(turns.most)

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self.engine.dispose()

    async def load(self, rule: Rule, parts: Parts) -> Rows | None:
        load = rule.config.load
        assert load is not None, "a rule that loads"
        assert load.sql is not None, "of a database"
        deadline = trio.current_time() + self._timeout
        statement = read(load.sql)
        text = self.dialect.written(statement)
        values = self.dialect.bound({name: parts[name] for name in statement.names})
        async with self._turns.turn(deadline):
            use = _Use(self.dialect, self.engine)
            return await self._step(use, deadline, lambda until: self._loaded(use, text, values, until))

    def _loaded(self, use: _Use, text: str, values: Mapping[str, Any], until: float) -> Rows | None:
        try:
            return use.step(lambda connection: _fetch(connection, text, values), until, autocommit=True)
        except SourceError as e:
            if isinstance(e.__cause__, DBAPIError) and self.dialect.is_no_key(e.__cause__):
                return None
            raise
        finally:
            use.end()

    def writing(
        self, rule: Rule, parts: Parts, op: Operation, given: Given
    ) -> AbstractAsyncContextManager[Writing]:
        return self.writing_all([(rule, parts, op, given)])

    @asynccontextmanager
    async def writing_all(self, writes: Sequence[WriteOf]) -> AsyncIterator[Writing]:
        made = [_statement(rule, op, parts, given) for rule, parts, op, given in writes if op != "wait"]
        texts = [(self.dialect.written(statement), self.dialect.bound(values)) for statement, values in made]
        key = (
            writes[0][1][KEY] if len(writes) == 1 else None
        )  # many are notes, which are brought again in order
        deadline = trio.current_time() + self._timeout

        def execute(connection: Connection) -> None:
            self.dialect.begin(connection, key)
            for text, values in texts:
                connection.exec_driver_sql(text, dict(values))

        async with self._turns.turn(deadline):
            use = _Use(self.dialect, self.engine)
            try:
                await self._step(use, deadline, lambda until: use.step(execute, until))
                yield _Executed(self, use)
            finally:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + self._timeout) as scope:
                    await trio.to_thread.run_sync(use.end, abandon_on_cancel=True, limiter=self._ending)
                if scope.cancelled_caught:
                    use.abort()

    async def commit(self, use: _Use) -> None:
        deadline = trio.current_time() + self._timeout
        await self._step(use, deadline, lambda until: use.step(lambda connection: connection.commit(), until))

    async def _step(self, use: _Use, deadline: float, work: Callable[[float], T]) -> T:
        """Do something in a thread until the deadline; nobody waits for a thread longer than that."""
        until = time.monotonic() + max(0.0, deadline - trio.current_time())
        try:
            with in_time(deadline):
                return await trio.to_thread.run_sync(
                    work, until, abandon_on_cancel=True, limiter=self._threads
                )
        except (trio.Cancelled, SourceSlowError):
            use.abort()
            raise


@dataclass(frozen=True, slots=True)
class _Executed:
    """A statement that was executed."""

    source: SqlSource
    use: _Use

    async def commit(self) -> None:
        await self.source.commit(self.use)


def _fetch(connection: Connection, text: str, values: Mapping[str, Any]) -> Rows | None:
    result = connection.exec_driver_sql(text, dict(values))
    if not result.returns_rows:
        raise SourceUnfitError("the statement answers no rows: load needs a select, or returning")
    columns = tuple(result.keys())
    rows = tuple(tuple(row) for row in result.fetchmany(MAX_ROWS + 1))
    if len(rows) > MAX_ROWS:
        raise SourceRefusedError(f"the statement finds more than {MAX_ROWS} rows")
    return Rows(columns, rows) if rows else None


def _statement(rule: Rule, op: Operation, parts: Parts, given: Given) -> tuple[Statement, Mapping[str, Any]]:
    """The statement of a write and its parameters; raise SourceRefusedError naming one that is missing."""
    write = rule.config.write
    assert write is not None, "a rule that writes"
    sql = write.upsert if op == "upsert" else write.delete
    if sql is None:
        raise SourceRefusedError(f"the rule of {rule.match} has no statement for {op}")
    statement = read(sql)
    values: dict[str, Any] = {}
    own = (VALUE, VALUE_BYTES) if rule.config.written_form is not Form.HASH else ()
    for name in statement.names:
        if name in parts:
            values[name] = parts[name]
        elif name in given:
            values[name] = given[name]
        elif name in write.optional:
            values[name] = None
        elif name in own and VALUE_BYTES in given:
            raise SourceRefusedError("the value is not UTF-8 text, and the statement wants :value")
        else:
            raise SourceRefusedError(f"the value has no field {name}, and the statement wants :{name}")
    return statement, values
