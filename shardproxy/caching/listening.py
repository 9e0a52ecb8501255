"""Listens to what databases say was changed by others: PostgreSQL's NOTIFY.

```text
  trigger: pg_notify(channel, key) ──> this ──> changed([key])        keys to forget
           connection lost, and back ──> this ──> missed()            anything may have changed meanwhile
```

What is said while nobody listens is lost, so `missed` is called whenever listening begins, at first too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import psycopg
import structlog
import trio
from psycopg import sql

from shardproxy.caching.rules import Rule, keys_of
from shardproxy.caching.sources.postgres import Postgres
from shardproxy.config.secrets import SecretError

ALIVE = 5.0  # seconds between two proofs that the connection is
PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # seconds before it is tried again
BATCH = 500  # keys that are forgotten together

Changed = Callable[[Sequence[bytes]], Awaitable[None]]
Missed = Callable[[], Awaitable[None]]
log = structlog.get_logger()


class _LostError(Exception):
    """The connection is of no use any more."""


def keys_named(payload: str, rules: Iterable[Rule]) -> list[bytes] | None:
    """The keys that a payload stands for; None: all of them.

    A key as it is, a JSON array of keys, or a JSON object of the parts of keys.
    """
    if not payload:
        return None
    if payload[0] not in "[{":
        return [payload.encode()]
    try:
        said = json.loads(payload)
    except (ValueError, RecursionError):
        return [payload.encode()]  # keys may begin with a tag, as in {user:1}:cart
    if isinstance(said, dict):
        return keys_of(rules, {name: _part(value) for name, value in said.items()})
    return [str(key).encode(errors="replace") for key in said if isinstance(key, (str, int))]


def _part(value: Any) -> str:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()  # half of a surrogate pair is no text
    return json.dumps(value)


async def listen(
    database: Postgres,
    channel: str,
    rules: Sequence[Rule],
    changed: Changed,
    missed: Missed,
    *,
    alive: float = ALIVE,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Listen until cancelled; `started` when it first does. What the callbacks raise ends it."""
    tries, is_first = 0, True
    while True:
        try:
            connection = await _connected(database, channel)
        except (psycopg.Error, OSError, SecretError, trio.TooSlowError) as e:
            if tries == 0:
                log.warning("not listening to changes", channel=channel, why=_why(e))
            await trio.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
            tries += 1
            continue
        try:
            if not is_first or tries:
                log.info("listening to changes", channel=channel)
            tries = 0
            await missed()
            if is_first:
                task_status.started()
                is_first = False
            await _follow(connection, rules, changed, missed, alive, database.timeout)
        except _LostError as e:
            log.warning("connection for changes is lost", channel=channel, why=str(e))
            tries = 1  # it has been said
        finally:
            connection.close()


async def _connected(database: Postgres, channel: str) -> psycopg.Connection[Any]:
    """Connect and listen, in a thread."""
    given_up: list[bool] = []

    def connect() -> psycopg.Connection[Any]:
        connection = database.connect()
        try:
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        except BaseException:
            connection.close()
            raise
        if given_up:
            connection.close()
        return connection

    limit = max(2.0, math.ceil(database.timeout)) + database.timeout
    try:
        with trio.fail_after(limit):
            return await trio.to_thread.run_sync(connect, abandon_on_cancel=True)
    except (trio.Cancelled, trio.TooSlowError):
        given_up.append(True)
        raise


async def _follow(
    connection: psycopg.Connection[Any],
    rules: Sequence[Rule],
    changed: Changed,
    missed: Missed,
    alive: float,
    patience: float,
) -> None:
    """Pass on what is said until the connection is lost; raise _LostError."""
    plain = connection.pgconn
    plain.nonblocking = 1
    try:
        while True:
            with trio.move_on_after(alive) as silence:
                await trio.lowlevel.wait_readable(plain.socket)
            if silence.cancelled_caught:
                await _prove(plain, patience)
            plain.consume_input()
            await _pass_on(plain, rules, changed, missed)
    except (psycopg.Error, OSError) as e:
        raise _LostError(_why(e)) from e


async def _prove(plain: psycopg.pq.abc.PGconn, patience: float) -> None:
    """Have it answer; raise _LostError when it does not in time."""
    plain.send_query(b"")
    with trio.move_on_after(patience):
        while plain.flush():
            await trio.lowlevel.wait_writable(plain.socket)
        while True:
            plain.consume_input()
            while not plain.is_busy():
                if plain.get_result() is None:
                    return
            await trio.lowlevel.wait_readable(plain.socket)
    raise _LostError("it does not answer")


async def _pass_on(
    plain: psycopg.pq.abc.PGconn, rules: Sequence[Rule], changed: Changed, missed: Missed
) -> None:
    keys: dict[bytes, None] = {}
    is_all = False
    while (note := plain.notifies()) is not None:
        named = keys_named(note.extra.decode(errors="replace"), rules)
        if named is None:
            is_all = True  # once for all that are here
            continue
        keys.update(dict.fromkeys(named))
        if len(keys) >= BATCH:
            await changed(tuple(keys))
            keys.clear()
    if keys:
        await changed(tuple(keys))
    if is_all:
        await missed()


def _why(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
