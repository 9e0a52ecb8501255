"""`shardproxy check --sources` has real sources say what is wrong with a config, and where in it."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shardproxy.cli import main
from shardproxy.fleet import free_port
from tests.fixtures.postgres import Database, Postgres

TABLE = "create table users (id int primary key, name text, email text)"
HEAD = """\
clusters:
  main:
    engine: redis
    endpoints: {configuration: "127.0.0.1:7000"}
    shards: [{nodes: ["127.0.0.1:7101"]}]
    caching:
"""
Check = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    """Check what stands below `caching`; the problems, each without the name of the file."""

    def run(text: str, *options: str) -> tuple[int, list[str]]:
        file = tmp_path / "config.yaml"
        file.write_text(HEAD + "".join(f"      {line}\n" for line in text.splitlines()))
        code = main(["check", str(file), *(options or ("--sources",))])
        said = capsys.readouterr()
        return code, [line.removeprefix(f"{file}:") for line in (said.err or said.out).splitlines()]

    return run


@pytest.fixture
def database(postgres: Postgres, tmp_path: Path) -> Database:
    database = postgres.database(TABLE)
    (tmp_path / "password").write_text(database.password)
    return database


def source(database: Database, tmp_path: Path) -> str:
    return f'{{url: "{database.url}", password: {{file: "{tmp_path}/password"}}}}'


def test_what_the_database_does_not_know_is_said_with_its_line(
    check: Check, database: Database, tmp_path: Path
) -> None:
    code, lines = check(f"""\
sources:
  main: {source(database, tmp_path)}
rules:
  - match: "user:{{id}}:profile"
    ttl: 5m
    load: {{source: main, sql: "select name, emial from users where id = :id", as: json}}
  - match: "user:{{id}}:names"
    ttl: 5m
    load: {{source: main, sql: "select id, name from users where id = :id", as: list}}
  - match: "user:{{id}}:twice"
    ttl: 5m
    load: {{source: main, sql: "select id, name as id from users where id = :id", as: hash}}
  - match: "user:{{id}}:touch"
    ttl: 5m
    load: {{source: main, sql: "update users set name = name where id = :id", as: hash}}
  - match: "user:{{id}}"
    ttl: 5m
    load: {{source: main, sql: "select name from users where id = :id"}}
    write:
      mode: through
      upsert: insert into users (id, name, nick) values (:id, :value, '')
      delete: delete from user where id = :id
""")
    at, hint = "clusters.main.caching.rules", 'Perhaps you meant to reference the column "users.email".'
    assert code == 1
    assert lines == [
        f'12:37: {at}[0].load.sql: column "emial" does not exist ({hint})',
        f"15:37: {at}[1].load.sql: the statement has 2 columns, and 1 makes the value (it answers id, name)",
        f"18:37: {at}[2].load.sql: has several columns id (name them apart with as)",
        f"21:37: {at}[3].load.sql: answers no rows (write a select, or add returning)",
        f'27:21: {at}[4].write.upsert: column "nick" of relation "users" does not exist',
        f'28:21: {at}[4].write.delete: syntax error at or near "user"',
        " 6 problems",
    ]
    assert database.run("select count(*) from users") == [(0,)]


def test_sqlite_says_as_much_and_changes_nothing(check: Check, tmp_path: Path) -> None:
    file = tmp_path / "my app?.db"
    connection = sqlite3.connect(file)
    connection.execute(TABLE)
    url = f"sqlite:///{str(file).replace('?', '%3F').replace(' ', '%20')}"
    text = f"""\
sources:
  main: {{url: "{url}"}}
rules:
  - match: "user:{{id}}:profile"
    ttl: 5m
    load: {{source: main, sql: "select name, emial from users where id = :id", as: json}}
  - match: "user:{{id}}:names"
    ttl: 5m
    load: {{source: main, sql: "select id, name from users where id = :id", as: set}}
  - match: "user:{{id}}"
    ttl: 5m
    load: {{source: main, sql: "select name from users where id = :id;"}}
    write: {{mode: through, upsert: "insert into users (id, name) values (:id, :value)"}}
"""
    code, lines = check(text)
    at = "clusters.main.caching.rules"
    assert lines == [
        f"12:37: {at}[0].load.sql: no such column: emial",
        f"15:37: {at}[1].load.sql: the statement has 2 columns, and 1 makes the value (it answers id, name)",
        " 2 problems",
    ]
    assert code == 1
    assert connection.execute("select count(*) from users").fetchone() == (0,)
    connection.close()


def test_a_config_that_is_right_is_ok_and_says_what_was_not_tried(
    check: Check, database: Database, tmp_path: Path
) -> None:
    text = f"""\
sources:
  main: {source(database, tmp_path)}
rules:
  - match: "user:{{id}}:profile"
    preset: record
    load: {{source: main, sql: "select name, email from users where id = :id", as: json}}
"""
    code, lines = check(text)
    assert (code, lines[0]) == (0, " OK")
    assert not any("--sources" in line for line in lines)
    code, lines = check(text.replace("email", "emial"), "--output", "table")
    assert (code, lines[0]) == (0, " OK")
    assert any("--sources asks the databases" in line for line in lines)


def test_sources_that_cannot_be_reached_are_named(check: Check, database: Database, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "wrong").write_text("no-such-secret")
    code, lines = check(f"""\
sources:
  gone: {{url: "postgresql+psycopg://app@127.0.0.1:{port}/app"}}
  strange: {{url: "{database.url}", password: {{file: "{tmp_path}/wrong"}}}}
  unread: {{url: "{database.url}", password: {{file: "{tmp_path}/nothing"}}}}
  empty: {{url: "sqlite:///{tmp_path}/nothing.db"}}
  server: {{url: "http://127.0.0.1:{port}/v1"}}
  function: {{python: "no_such_module:load"}}
rules:
  - {{match: "a:{{id}}", ttl: 1s, load: {{source: gone, sql: "select :id"}}}}
""")
    at = "clusters.main.caching.sources"
    assert code == 1
    assert len(lines) == 7
    for line, beginning in zip(
        lines,
        [
            f"8:21: {at}.gone.url: cannot be connected to: ",
            f"9:24: {at}.strange.url: cannot be connected to: ",
            "10:",
            f"11:22: {at}.empty.url: cannot be connected to: unable to open database file",
            f"12:23: {at}.server.url: cannot be connected to: ConnectError: ",
            f"13:28: {at}.function.python: no_such_module cannot be imported",
            " 6 problems",
        ],
        strict=True,
    ):
        assert line.startswith(beginning), line
    assert "password authentication failed" in lines[1]
    assert "cannot read the secret in file" in lines[2]
    assert "no-such-secret" not in "".join(lines)
    assert not (tmp_path / "nothing.db").exists()


def test_a_missing_extra_says_how_to_install_it(
    check: Check, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "shardproxy.caching.sources.postgres", raising=False)
    code, lines = check("""\
sources:
  main: {url: "postgresql+psycopg://app@127.0.0.1:1/app"}
rules:
  - {match: "a:{id}", ttl: 1s, load: {source: main, sql: "select :id"}}
""")
    assert code == 1
    assert lines[0].endswith(
        "clusters.main.caching.sources.main.url: needs psycopg (pip install 'shardproxy[caching]')"
    )
