"""Tries what the config says of caching against the real sources, and changes nothing there.

Statements are prepared and not executed; servers are connected to; functions are found.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import trio

from shardproxy.caching.sources.http import why_not
from shardproxy.caching.sources.opening import EXTRA, SourceSetupError, dialect_of, secret_of, tls_of
from shardproxy.caching.values import columns_wanted, why_not_columns
from shardproxy.config.caching import Caching
from shardproxy.config.caching_sources import CachingSource, HttpSource, PythonSource, SqlSource
from shardproxy.config.secrets import SecretError
from shardproxy.config.statements import read_statement

PATIENCE = 5.0  # seconds for a source, beyond its own timeout
At = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Wrong:
    """Something to correct; the place is from the cluster's `caching`."""

    at: At
    message: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Tried:
    """A statement of a rule, and its place."""

    at: At
    sql: str
    columns: int | None = None  # it has to answer; None: any number
    answers: bool = False  # whether it has to answer rows at all


async def wrong_with(caching: Caching, directory: Path) -> list[Wrong]:
    """Try all sources side by side; what is wrong, in the order of the file."""
    found: dict[str, list[Wrong]] = {name: [] for name in caching.sources}

    async def tried(name: str, source: CachingSource) -> None:
        try:
            with trio.fail_after(source.timeout + PATIENCE):
                found[name] = await _tried(name, source, caching, directory)
        except trio.TooSlowError:
            found[name] = [Wrong(_place(name, source), "does not answer in time", "is it reached from here?")]

    async with trio.open_nursery() as nursery:
        for name, source in caching.sources.items():
            nursery.start_soon(tried, name, source)
    return [wrong for name in caching.sources for wrong in found[name]]


async def _tried(name: str, source: CachingSource, caching: Caching, directory: Path) -> list[Wrong]:
    match source:
        case SqlSource():
            statements = list(_statements(name, caching))
            return await trio.to_thread.run_sync(_database, name, source, statements, abandon_on_cancel=True)
        case HttpSource():
            return await _server(name, source, directory)
        case PythonSource():
            return await trio.to_thread.run_sync(_function, name, source, abandon_on_cancel=True)


def _place(name: str, source: CachingSource) -> At:
    return ("sources", name, "python" if isinstance(source, PythonSource) else "url")


def _statements(source: str, caching: Caching) -> Iterator[Tried]:
    for i, rule in enumerate(caching.rules):
        load, write = rule.load, rule.write
        if load is not None and load.source == source and load.sql is not None:
            wanted = columns_wanted(load.form, load.rows_wanted)
            yield Tried(("rules", i, "load", "sql"), load.sql, wanted, answers=True)
        if write is not None and rule.write_source == source:
            for key, sql in (("upsert", write.upsert), ("delete", write.delete)):
                if sql is not None:
                    yield Tried(("rules", i, "write", key), sql)


def _database(name: str, source: SqlSource, statements: list[Tried]) -> list[Wrong]:
    at = ("sources", name, "url")
    try:
        dialect: Any = dialect_of(source)
        raw = dialect.connect()
    except ImportError as e:
        return [Wrong(at, f"needs {e.name}", EXTRA)]
    except SecretError as e:
        return [Wrong(("sources", name, "password"), str(e))]
    except Exception as e:  # noqa: BLE001  # the driver's, which may be missing
        return [Wrong(at, f"cannot be connected to: {_line(e)}", _hint(source))]
    try:
        return [wrong for tried in statements if (wrong := _statement(dialect, raw, tried)) is not None]
    except Exception as e:  # noqa: BLE001  # the same
        return [Wrong(at, f"connection lost: {_line(e)}")]
    finally:
        with suppress(Exception):
            raw.close()


def _statement(dialect: Any, raw: Any, tried: Tried) -> Wrong | None:
    from shardproxy.caching.sources.dialect import Fault

    answer = dialect.fault(raw, read_statement(tried.sql))
    if isinstance(answer, Fault):
        return Wrong(tried.at, answer.message, answer.hint)
    if answer is None:
        return None
    if tried.answers and not answer:
        return Wrong(tried.at, "answers no rows", "write a select, or add returning")
    if tried.columns is not None and len(answer) != tried.columns:
        names = ", ".join(answer)
        return Wrong(tried.at, why_not_columns(len(answer), tried.columns), f"it answers {names}")
    if tried.answers and tried.columns is None and len(set(answer)) < len(answer):
        twice = next(name for name in answer if answer.count(name) > 1)
        return Wrong(tried.at, f"has several columns {twice}", "name them apart with as")
    return None


async def _server(name: str, source: HttpSource, directory: Path) -> list[Wrong]:
    try:
        secret_of(source.token)()
        tls = tls_of(source, directory)
    except SecretError as e:
        return [Wrong(("sources", name, "token"), str(e))]
    except SourceSetupError as e:
        return [Wrong(("sources", name, "ca"), str(e))]
    try:
        async with httpx.AsyncClient(verify=tls, trust_env=False, timeout=source.timeout) as client:
            await client.head(source.url)
    except httpx.HTTPError as e:
        hint = "is it running, and reached from here?"
        return [Wrong(("sources", name, "url"), f"cannot be connected to: {why_not(e)}", hint)]
    return []


def _function(name: str, source: PythonSource) -> list[Wrong]:
    from shardproxy.caching.sources.python import LoaderError, loader_named

    try:
        loader_named(source.python)
    except LoaderError as e:
        hint = "is its package installed where shardproxy is, or PYTHONPATH set?"
        return [Wrong(("sources", name, "python"), str(e), hint)]
    return []


def _hint(source: SqlSource) -> str:
    if source.is_postgres:
        return "is it running and reached from here, and are user and password right?"
    return "is the file there, and may shardproxy read and write it?"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
