"""The table behind the cache, and the rules about it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import psycopg

from tests.fixtures.postgres import Database

PASSWORD = "DATABASE_PASSWORD"
TABLE = "create table rows (key text primary key, value text check (value <> 'bad'))"
TRIGGER = """
create function told() returns trigger language plpgsql as $$
begin
  if coalesce(new.key, old.key) like 'direct:%' then
    perform pg_notify('cache', coalesce(new.key, old.key));
  end if;
  return null;
end $$;
create trigger told after insert or update or delete on rows for each row execute function told()
"""
SELECT = "select value from rows where key = :key"
UPSERT = (
    "insert into rows (key, value) values (:key, :value)"
    " on conflict (key) do update set value = excluded.value"
)
DELETE = "delete from rows where key = :key"
TIMEOUT = 1.0  # seconds, of the source


def caching(url: str, *, is_told: bool = False, **more: Any) -> dict[str, Any]:
    """Keys named after how they are written; `direct` ones are written beside the proxies."""
    source = {
        "url": url,
        "password": {"env": PASSWORD},
        "timeout": f"{TIMEOUT:g}s",
        "breaker": {"retry": "200ms"},
    }
    rules = []
    for kind in ("through", "behind", "direct"):
        rule: dict[str, Any] = {
            "match": f"{kind}:{{id}}",
            "load": {"source": "main", "sql": SELECT, "as": "string"},
            "ttl": "1h",  # longer than any test: what is old stays so
            "missing": "1h",
            **more,
        }
        if kind != "direct":
            rule["write"] = {"mode": kind, "upsert": UPSERT, "delete": DELETE}
        rules.append(rule)
    found: dict[str, Any] = {"sources": {"main": source}, "rules": rules}
    if is_told:
        found["invalidate"] = {"source": "main", "channel": "cache"}
    return found


def row_of(database: Database, key: str) -> str | None:
    with database.connect() as connection:
        found = connection.execute("select value from rows where key = %s", (key,)).fetchone()
    return None if found is None else str(found[0])


class Direct:
    """Writes rows as an application does that knows of no cache; raise psycopg.Error."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: psycopg.Connection[Any] | None = None

    def write(self, key: str, value: int | None) -> None:
        if self._connection is None:
            self._connection = self._database.connect()
        try:
            if value is None:
                self._connection.execute("delete from rows where key = %s", (key,))
            else:
                self._connection.execute(
                    "insert into rows values (%s, %s) on conflict (key) do update set value = excluded.value",
                    (key, str(value)),
                )
        except psycopg.Error:
            self.close()
            raise

    def close(self) -> None:
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
            self._connection = None
