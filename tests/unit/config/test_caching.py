"""What is wrong with caching in a config is said where it stands, with what to write instead."""

# ruff: noqa: E501, ISC004  # a table of what is written and what is said of it
from __future__ import annotations

import re

import pytest

from shardproxy.config import Config, ConfigError, parse_config
from shardproxy.config.caching import PRESETS, Caching, LoadFailure

HEAD = 'clusters: {main: {engine: redis, endpoints: {configuration: "127.0.0.1:7000"}, shards: [{nodes: ["127.0.0.1:1"]}], caching: '
MEMCACHED = 'clusters: {main: {engine: memcached, endpoints: {configuration: "127.0.0.1:7000"}, nodes: ["127.0.0.1:1"], caching: '
DB = "{url: 'postgresql://app@db/app'}"
SOURCES = f"db: {DB}, lite: {{url: 'sqlite:////x.db'}}, web: {{url: 'https://h/v1'}}, py: {{python: 'm:f'}}"
LOAD = "{source: db, sql: 'select a from t where id = :id'}"


def parsed(caching: str, head: str = HEAD) -> Config:
    return parse_config(f"{head}{caching}}}}}", "c")


def problems(caching: str, head: str = HEAD) -> list[str]:
    with pytest.raises(ConfigError) as wrong:
        parsed(caching, head)
    return [re.sub(r"^c:1:\d+: clusters\.main\.?", "", one) for one in wrong.value.reasons]


def of_rule(rule: str, more: str = "") -> list[str]:
    return [
        one.removeprefix("caching.rules[0]").removeprefix(".")
        for one in problems(f"{{sources: {{{SOURCES}}}, rules: [{{match: 'u:{{id}}', {rule}}}]{more}}}")
    ]


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("ttl: 1s", ": loads nothing and writes nothing (add load: {source: ..., sql: ...})"),
        (f"load: {LOAD}", ": has load, and no ttl (add ttl: 5m, or a preset: record)"),
        ("ttl: 1s, load: {source: no, sql: 'select 1'}",
         "load.source: there is no source no (known here: db, lite, web, py)"),
        ("ttl: 1s, load: {source: db}",
         "load: db is a database, and sql is missing (add sql: select ... where id = :id)"),
        ("ttl: 1s, load: {source: web}", 'load: web is a server, and path is missing (add path: "/users/{id}")'),
        ("ttl: 1s, load: {source: web, sql: 'select 1', path: '/x'}",
         "load.sql: web is a server: sql has no use (leave out sql)"),
        ("ttl: 1s, load: {source: py, path: '/x'}",
         "load.path: py is a function: path has no use (leave out path)"),
        ("ttl: 1s, load: {source: db, sql: 'select :ID, :key, :id::int'}",
         "load.sql: nothing gives :ID its value (parts of match: :id; or :key)"),
        ("ttl: 1s, load: {source: web, path: '/x/{name}'}",
         "load.path: nothing gives {name} its value (parts of match: {id})"),
        ("ttl: 1s, load: {source: web, path: '/x/../{id}'}",
         "load.path: has . or .. in it (write the path that is meant)"),
        ("ttl: 1s, load: {source: web, path: '/x#{id}'}", 'load.path: is not a path (write it like "/users/{id}")'),
        ("ttl: 1s, load: {source: db, sql: 'select 1', as: text}",
         "load.as: must be json, string, hash, list, set or zset"),
        ("ttl: 1s, load: {source: db, sql: 'select 1', as: list, rows: one}",
         "load.rows: a list is made of all rows (leave out rows)"),
        ("ttl: 1s, load: {source: db, sql: 'select 1', rows: all}",
         "load.rows: a string is made of one row (write as: json, or as: list)"),
        (f"ttl: 1s, refresh_ahead: 1, load: {LOAD}", "refresh_ahead: must be less than 1"),
        (f"ttl: 1s, refresh_ahead: 0, load: {LOAD}", "refresh_ahead: must be more than 0"),
        (f"ttl: 1s, on_failure: stale, load: {LOAD}",
         "on_failure: stale needs a time for which old values are served (add stale: 1m)"),
        (f"ttl: 1s, preset: rekord, load: {LOAD}",
         "preset: must be record, page, reference or session (did you mean record?)"),
        (f"ttl: 1s, load: {LOAD}, write: {{mode: through}}",
         "write: mode: through needs upsert (add upsert: insert into ...)"),
        (f"ttl: 1s, load: {LOAD}, write: {{mode: none, delete: 'x'}}",
         "write.delete: has no use with mode: none (write mode: through or behind)"),
        (f"ttl: 1s, load: {LOAD}, write: {{mode: behind, upsert: 'x :name'}}",
         "write.upsert: nothing gives :name its value (parts of match: :id; or :key)"),
        (f"ttl: 1s, load: {LOAD}, write: {{mode: behind, upsert: 'x', delete: 'x :value'}}",
         "write.delete: nothing gives :value its value (parts of match: :id; or :key)"),
        (f"ttl: 1s, load: {LOAD}, write: {{mode: behind, upsert: 'x', as: hash}}",
         "write.as: hash is not what is loaded: string (a key has one type)"),
        (f"ttl: 1s, load: {LOAD}, write: {{mode: behind, upsert: 'x', source: web}}",
         "write.source: web is no database: nothing is written to it"
         " (name another source there, or leave out write)"),
        ("ttl: 1s, load: {source: py}, write: {mode: behind, upsert: 'x'}",
         "write: py is no database: nothing is written to it (name another source there, or leave out write)"),
        ("write: {mode: behind, upsert: 'x'}",
         "write: names no source (add source: and a name under sources)"),
        ("write: {mode: behind, upsert: 'x', source: db, as: list}",
         "write: a list is written to no database (write as: json, string or hash)"),
        ("write: {mode: behind, upsert: 'x :a', source: db, as: json, optional: [b]}",
         "write.optional[0]: :b is no parameter of upsert"),
        ("write: {mode: behind, upsert: 'x :id', source: db, as: json, optional: [id]}",
         "write.optional[0]: :id is always there (leave it out)"),
        ("stale: 1s, write: {mode: behind, upsert: 'x', source: db}",
         "stale: has no use without load (leave out stale, or add load)"),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_be_followed_says_why(rule: str, problem: str) -> None:
    assert of_rule(rule) == [problem]


@pytest.mark.parametrize(
    ("match", "problem"),
    [
        ("u:{a-b}", "match: {a-b} is no name for a parameter (use letters, digits and _)"),
        ("{id}:{id}", "match: {id} stands in it 2 times (name each)"),
        ("u:{value}", "match: {value} is what is written (choose another name)"),
        ("u:{key}", "match: {key} is the whole key (choose another name)"),
        ("u:{a", 'match: the { in match is not closed (a literal one is written "[{]" or "[[]")'),
        ("{a}{b}", "match: two parts in match stand next to each other: nothing tells where one ends"
         " (put a text between them)"),
    ],
)  # fmt: skip
def test_a_pattern_names_parameters(match: str, problem: str) -> None:
    said = problems(
        f"{{sources: {{{SOURCES}}}, rules: [{{match: '{match}', ttl: 1s, load: {{source: py}}}}]}}"
    )
    assert said == [f"caching.rules[0].{problem}"]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{url: 'postgresql://app:hunter2@db/app'}",
         "url: a password is never written in the config"
         " (leave it out of the url, and write password: {file: ...} or {env: ...})"),
        ("{url: 'postgresql://app@db/app?password=hunter2'}",
         "url: a password is never written in the config"
         " (leave it out of the url, and write password: {file: ...} or {env: ...})"),
        ("{url: 'https://me:hunter2@h/x'}",
         "url: a password is never written in the config (write token: {file: ...} or {env: ...})"),
        ("{url: 'mysql://db/app'}",
         "url: is not the url of a database that is known"
         " (write postgresql+psycopg://USER@HOST/DATABASE or sqlite:////PATH/TO/FILE)"),
        ("{url: 'sqlite:///app.db'}",
         "url: is not an absolute path (write four slashes: sqlite:////var/lib/app.db)"),
        ("{url: 'https://h/x?a=b'}",
         "url: is not the url of a server (write it like https://users.example.com/v1)"),
        ("{url: 'sqlite:////x', password: {env: X}}", ": SQLite asks for no password (leave out password)"),
        ("{url: 'sqlite:////x', password: hunter2}",
         "password: a password is never written in the config"
         " (write {file: /run/secrets/redis-password} or {env: REDIS_PASSWORD})"),
        ("{url: 'sqlite:////x', conections: 3}", "conections: is not a known key (did you mean connections?)"),
        ("{url: 'https://h', password: {env: X}}",
         "password: is not a known key (write passwords: [{file: ...}])"),
        ("{python: 'a b'}", "python: names no function (write module:function, or the name of an entry point)"),
        ("{connections: 0, url: 'sqlite:////x'}", "connections: must be at least 1"),
        ("{}", "url: is missing (write url: postgresql+psycopg://app@db/app, or https://...; or python: module:function)"),
    ],
)  # fmt: skip
def test_a_source_that_cannot_be_used_says_why(source: str, problem: str) -> None:
    said = problems(
        f"{{sources: {{db: {source}}}, rules: [{{match: 'u:{{id}}', ttl: 1s, load: {{source: db, sql: 'x'}}}}]}}"
    )
    assert [one.removeprefix("caching.sources.db").removeprefix(".") for one in said] == [problem]
    assert "hunter2" not in "".join(said)


def test_channels_are_of_postgres() -> None:
    for name, problem in [
        ("lite", "lite is no PostgreSQL: it has no channels"),
        ("no", "there is no source no (known here: db, lite, web, py)"),
    ]:
        said = of_rule(f"ttl: 1s, load: {LOAD}", f", invalidate: {{source: {name}, channel: c}}")
        assert [re.sub(r"^caching.invalidate(\[0\])?\.source: ", "", one) for one in said] == [problem]


def test_memcached_has_strings_alone() -> None:
    rules = "[{match: 'u:{id}', ttl: 1s, load: {source: py, as: hash}}, {match: 'v:{id}', ttl: 1s, load: {source: py, as: json}}]"
    text = f"{{sources: {{{SOURCES}}}, rules: {rules}}}"
    said = problems(text, MEMCACHED)
    assert said == ["caching.rules[0].load.as: memcached has no hash (write as: json or string)"]
    assert parsed(text.replace("hash", "string"), MEMCACHED).clusters["main"].caching is not None


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (
            "ttl: 1s, write: {mode: behind, source: lite, upsert: x}",
            ".rules[0].write.mode: memcached has no place for writes that the database lacks: they would be lost"
            " with the node (write mode: through)",
        ),
        ("ttl: 1s, stale: 5s", ".rules[0].stale: memcached keeps no value beyond its ttl (leave it out)"),
        (
            "ttl: 1s, refresh_ahead: 0.5",
            ".rules[0].refresh_ahead: values in memcached are not loaded again before they expire (leave it out)",
        ),
        (
            "preset: record",
            ".rules[0].preset: preset record serves old values or loads ahead, and memcached can do neither"
            " (write ttl and missing instead)",
        ),
    ],
)
def test_memcached_keeps_nothing_beside_a_value(more: str, problem: str) -> None:
    text = f"{{sources: {{{SOURCES}}}, rules: [{{match: 'u:{{id}}', load: {{source: py}}, {more}}}]}}"
    assert problems(text, MEMCACHED) == [f"caching{problem}"]
    plain = "preset: session"
    assert parsed(text.replace(more, plain), MEMCACHED).clusters["main"].caching is not None


def test_writes_go_where_nobody_else_takes_the_keys() -> None:
    rule = "{match: 'u:{id}', write: {mode: through, source: lite, upsert: x}}"
    text = f"{{sources: {{{SOURCES}}}, rules: [{rule}]}}"
    (said,) = problems(text, MEMCACHED.replace("caching:", "on_failure: rehash, caching:"))
    assert "a node that comes back has what was before (write on_failure: miss)" in said
    assert parsed(text, MEMCACHED).clusters["main"].caching is not None


def test_clients_that_go_to_the_nodes_pass_the_rules_by() -> None:
    head = HEAD.replace(
        '{configuration: "127.0.0.1:7000"}', '{configuration: {address: "127.0.0.1:7000", mode: direct}}'
    )
    said = problems(
        f"{{sources: {{{SOURCES}}}, rules: [{{match: 'u:{{id}}', ttl: 1s, load: {{source: py}}}}]}}", head
    )
    assert said == [
        ": caching and mode: direct contradict each other"
        " (leave out mode: direct: clients that go to the nodes themselves pass the rules by)"
    ]


def of_config(rule: str, more: str = "") -> Caching:
    text = f"{{sources: {{{SOURCES}}}, rules: [{{match: 'u:{{id}}', {rule}}}]{more}}}"
    caching = parsed(text).clusters["main"].caching
    assert caching is not None
    return caching


def test_short_forms_say_the_same() -> None:
    long = of_config(
        f"ttl: 1s, load: {LOAD}, missing: {{ttl: 5s}}, stale: {{serve: 6s}}",
        ", invalidate: [{source: db, channel: c}]",
    )
    short = of_config(
        f"ttl: 1, load: {LOAD}, missing: 5s, stale: 6", ", invalidate: {source: db, channel: c}"
    )
    assert long == short


@pytest.mark.parametrize("name", [one.value for one in PRESETS])
def test_a_preset_is_settings_and_what_is_written_counts_more(name: str) -> None:
    alone = of_config(f"preset: {name}, load: {LOAD}").rules[0]
    assert alone.ttl is not None
    assert alone.missing.ttl > 0
    other = of_config(f"preset: {name}, ttl: 7s, missing: 0s, on_failure: miss, load: {LOAD}").rules[0]
    assert (other.ttl, other.missing.ttl, other.on_failure) == (7, 0, LoadFailure.MISS)
    assert other.stale == alone.stale
