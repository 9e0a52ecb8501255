"""From what the config says of sources to sources that can be asked."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from shardproxy.caching.sources.breaker import Breaker
from shardproxy.caching.sources.guarded import GuardedSource
from shardproxy.caching.sources.interface import Source
from shardproxy.caching.sources.turns import Turns
from shardproxy.config.caching_sources import CachingSource, HttpSource, PythonSource, SqlSource
from shardproxy.config.secrets import Secret

if TYPE_CHECKING:
    from shardproxy.caching.sources.postgres import Postgres
    from shardproxy.caching.sources.sqlite import Sqlite

EXTRA = "pip install 'shardproxy[caching]'"
Sources = Mapping[str, GuardedSource]


class SourceSetupError(Exception):
    """A source that cannot even be tried; the text says what to do about it."""


@asynccontextmanager
async def open_sources(sources: Mapping[str, CachingSource], directory: Path) -> AsyncIterator[Sources]:
    """Make them ready and close them; raise SourceSetupError. None is connected to before it is asked.

    Files are found from `directory`. Databases need the extra `caching`, which is imported here.
    """
    async with AsyncExitStack() as stack:
        opened = {}
        for name, settings in sources.items():
            turns = Turns(settings.connections, settings.waiting)
            breaker = Breaker(settings.breaker.failures, settings.breaker.retry)
            try:
                source = await _opened(settings, turns, directory, stack)
            except SourceSetupError as e:
                raise SourceSetupError(f"source {name}: {e}") from e
            except (
                Exception
            ) as e:  # of a library's; what it says may have the url in it, and a password there
                raise SourceSetupError(f"source {name}: {type(e).__name__}: look at its url") from e
            opened[name] = GuardedSource(name, source, turns, breaker)
        yield opened


async def _opened(settings: CachingSource, turns: Turns, directory: Path, stack: AsyncExitStack) -> Source:
    match settings:
        case SqlSource():
            return _database(settings, turns, stack)
        case HttpSource():
            from shardproxy.caching.sources.http import HttpSource as Server

            server = Server(
                settings.url,
                turns,
                settings.timeout,
                token=secret_of(settings.token),
                headers=settings.headers,
                tls=tls_of(settings, directory),
            )
            stack.push_async_callback(server.aclose)
            return server
        case PythonSource():
            from shardproxy.caching.sources.python import LoaderError, loader_named
            from shardproxy.caching.sources.python import PythonSource as Function

            try:
                return Function(loader_named(settings.python), turns, settings.timeout)
            except LoaderError as e:
                raise SourceSetupError(str(e)) from e


def _database(settings: SqlSource, turns: Turns, stack: AsyncExitStack) -> Source:
    try:
        from shardproxy.caching.sources.sql import SqlSource as Database

        database = Database(dialect_of(settings), turns, settings.timeout)
    except ImportError as e:
        raise SourceSetupError(f"databases need {e.name}: {EXTRA}") from e
    stack.callback(database.close)
    return database


def dialect_of(settings: SqlSource) -> Postgres | Sqlite:
    """The kind of database; raise ImportError without the extra `caching`."""
    if settings.is_postgres:
        from shardproxy.caching.sources.postgres import Postgres

        return Postgres(settings.url, secret_of(settings.password), settings.timeout)
    from shardproxy.caching.sources.sqlite import Sqlite

    return Sqlite(settings.url, settings.timeout)


def secret_of(place: Secret | None) -> Callable[[], str | None]:
    """What fetches a secret when it is needed, so that one that was replaced is used."""
    return lambda: None if place is None else place.read()


def tls_of(settings: HttpSource, directory: Path) -> ssl.SSLContext:
    """Who is believed to be the server; raise SourceSetupError."""
    if settings.ca is None:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cafile=str(directory / settings.ca))
    except (OSError, ssl.SSLError) as e:
        raise SourceSetupError(f"ca {settings.ca} cannot be read: {e.strerror or e}") from e
