"""What was loaded becomes what clients find, and what they write becomes parameters."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardproxy.caching.sources.interface import Body, Loaded, Rows, SourceRefusedError, Value
from shardproxy.caching.values import (
    BATCH,
    Shape,
    commands_of,
    given_by_fields,
    given_by_text,
    json_text,
    scalar,
)
from shardproxy.config.caching import Form
from shardproxy.config.caching import Rows as Wanted

LIMIT = 1 << 20


def made(loaded: Loaded, form: str, rows: str = "one", limit: int = LIMIT) -> list[tuple[bytes, ...]]:
    return commands_of(b"k", loaded, Shape(Form(form), Wanted(rows), limit))


def rows(*rows: tuple[Any, ...], columns: str = "ab") -> Rows:
    return Rows(tuple(columns[: len(rows[0])]), rows)


@pytest.mark.parametrize(
    ("loaded", "form", "many", "commands"),
    [
        (rows((1, "é")), "json", "one", [(b"SET", b"k", '{"a":1,"b":"é"}'.encode())]),
        (rows((1, None), (2, True)), "json", "all", [(b"SET", b"k", b'[{"a":1,"b":null},{"a":2,"b":true}]')]),
        (rows(("x",)), "string", "one", [(b"SET", b"k", b"x")]),
        (rows((b"\xff",)), "string", "one", [(b"SET", b"k", b"\xff")]),
        (rows(({"a": [1]},)), "string", "one", [(b"SET", b"k", b'{"a":[1]}')]),
        (rows(("",)), "string", "one", [(b"SET", b"k", b"")]),
        (rows((None,)), "string", "one", []),
        (rows((1, "x")), "hash", "one", [(b"DEL", b"k"), (b"HSET", b"k", b"a", b"1", b"b", b"x")]),
        (rows((1, None)), "hash", "one", [(b"DEL", b"k"), (b"HSET", b"k", b"a", b"1")]),
        (rows((None, None)), "hash", "one", []),
        (rows(("f", 1), ("g", 2)), "hash", "all", [(b"DEL", b"k"), (b"HSET", b"k", b"f", b"1", b"g", b"2")]),
        (rows(("x",), ("y",)), "list", "all", [(b"DEL", b"k"), (b"RPUSH", b"k", b"x", b"y")]),
        (rows((1,), (2,)), "set", "all", [(b"DEL", b"k"), (b"SADD", b"k", b"1", b"2")]),
        (rows(("m", 1), ("n", Decimal("2.5"))), "zset", "all",
         [(b"DEL", b"k"), (b"ZADD", b"k", b"1.0", b"m", b"2.5", b"n")]),
        (Body(b'{"n": 1.10}'), "json", "one", [(b"SET", b"k", b'{"n": 1.10}')]),
        (Body(b"plain"), "string", "one", [(b"SET", b"k", b"plain")]),
        (Body(b'{"f": 1, "g": null}'), "hash", "one", [(b"DEL", b"k"), (b"HSET", b"k", b"f", b"1")]),
        (Body(b'["x", 2]'), "list", "all", [(b"DEL", b"k"), (b"RPUSH", b"k", b"x", b"2")]),
        (Body(b'{"m": 1}'), "zset", "all", [(b"DEL", b"k"), (b"ZADD", b"k", b"1.0", b"m")]),
        (Body(b"[]"), "list", "all", []),
        (Body(b"null"), "hash", "one", []),
        (Value({"a": {1}}), "json", "one", [(b"SET", b"k", b'{"a":[1]}')]),
        (Value(12), "string", "one", [(b"SET", b"k", b"12")]),
        (Value({"a": 1}), "hash", "one", [(b"DEL", b"k"), (b"HSET", b"k", b"a", b"1")]),
        (Value(x for x in "ab"), "set", "all", [(b"DEL", b"k"), (b"SADD", b"k", b"a", b"b")]),
    ],
)  # fmt: skip
def test_a_value_is_made_of_what_was_loaded(
    loaded: Loaded, form: str, many: str, commands: list[tuple[bytes, ...]]
) -> None:
    assert made(loaded, form, many) == commands


@pytest.mark.parametrize(
    ("loaded", "form", "many", "why"),
    [
        (rows((1,), (2,)), "json", "one", "finds several rows"),
        (rows((1,), (2,)), "hash", "one", "finds several rows"),
        (rows((1, 2)), "string", "one", "has 2 columns, and 1 makes"),
        (rows((1, 2)), "list", "all", "has 2 columns, and 1 makes"),
        (rows((1,)), "zset", "all", "has 1 columns, and 2 make"),
        (rows((1, 2), columns="aa"), "json", "one", "several columns a"),
        (rows((None,)), "list", "all", "an element is NULL"),
        (rows(("m", "x")), "zset", "all", "a score is no number"),
        (rows(("m", None)), "zset", "all", "a score is no number"),
        (rows(("m", float("nan"))), "zset", "all", "a score is no number"),
        (rows((float("nan"),)), "json", "one", "cannot be JSON"),
        (Body(b"{"), "json", "one", "not JSON"),
        (Body(b"\xff"), "json", "one", "not JSON"),
        (Body(b"[1]"), "hash", "one", "is no mapping"),
        (Body(b'"text"'), "list", "all", "is no list"),
        (Body(b'{"a": 1}'), "set", "all", "is no list"),
        (Value("text"), "list", "all", "is no list"),
        (Value("\ud800"), "string", "one", "surrogate"),
    ],
)
def test_what_makes_no_value_says_why(loaded: Loaded, form: str, many: str, why: str) -> None:
    with pytest.raises(SourceRefusedError, match=why):
        made(loaded, form, many)


def test_a_value_has_a_limit() -> None:
    assert made(rows(("x" * 10,)), "string", limit=10)
    for loaded, form in [(rows(("x" * 11,)), "string"), (rows(*[("xxxx",)] * 3), "list")]:
        with pytest.raises(SourceRefusedError, match="larger than 10 bytes"):
            made(loaded, form, "all" if form == "list" else "one", limit=10)


def test_many_elements_are_several_commands() -> None:
    commands = made(Value([str(i) for i in range(2 * BATCH + 1)]), "list", "all")
    assert [command[0] for command in commands] == [b"DEL", b"RPUSH", b"RPUSH", b"RPUSH"]
    assert [word for command in commands[1:] for word in command[2:]] == [
        str(i).encode() for i in range(2 * BATCH + 1)
    ]
    pairs = made(Value({str(i): i for i in range(BATCH)}), "hash")
    assert all(len(command) % 2 == 0 for command in pairs)


@pytest.mark.parametrize(
    ("value", "alone", "in_json"),
    [
        (True, b"1", "true"),
        (1.5, b"1.5", "1.5"),
        (Decimal("12.30"), b"12.30", "12.3"),
        (Decimal("1E+3"), b"1000", "1000"),
        (Decimal("0.12345678901234567890123"), b"0.12345678901234567890123", '"0.12345678901234567890123"'),
        (datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC), b"2026-01-02T03:04:00+00:00",
         '"2026-01-02T03:04:00+00:00"'),
        (datetime.date(2026, 1, 2), b"2026-01-02", '"2026-01-02"'),
        (datetime.timedelta(seconds=90), b"90.0", "90.0"),
        (UUID(int=5), str(UUID(int=5)).encode(), f'"{UUID(int=5)}"'),
        (b"\xff", b"\xff", '"/w=="'),
    ],
)  # fmt: skip
def test_types_of_databases_have_one_spelling(value: Any, alone: bytes, in_json: str) -> None:
    assert scalar(value) == alone
    assert json_text([value]).decode() == f"[{in_json}]"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(
        st.characters(exclude_categories=["Cs"])
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(JSON)
def test_json_is_what_it_was(value: Any) -> None:
    try:
        text = json_text(value)
    except SourceRefusedError:
        assert "surrogate" in str(value.__class__) or "\\ud" in json.dumps(value)
        return
    assert json.loads(text) == value


def test_fields_of_an_object_are_parameters_and_the_whole_is_value() -> None:
    raw = '{"name": "é", "n": 1, "f": 1.5, "b": true, "none": null, "in": {"x": [1]}, "value": 9}'.encode()
    assert given_by_text(Form.JSON, raw) == {
        "name": "é",
        "n": 1,
        "f": 1.5,
        "b": True,
        "none": None,
        "in": '{"x":[1]}',
        "value": raw.decode(),
        "value_bytes": raw,
    }
    assert given_by_text(Form.JSON, b"[1]") == {"value": "[1]", "value_bytes": b"[1]"}
    for bad in (b"{", b"", b"\xff", b"[" * 100_000):
        with pytest.raises(SourceRefusedError, match="not JSON"):
            given_by_text(Form.JSON, bad)


def test_a_string_is_a_value_whatever_it_is() -> None:
    assert given_by_text(Form.STRING, b"{x") == {"value": "{x", "value_bytes": b"{x"}
    assert given_by_text(Form.STRING, b"\xff") == {"value_bytes": b"\xff"}


def test_fields_of_a_hash_are_text_where_they_are() -> None:
    assert given_by_fields({b"a": b"1", b"value": b"\xff", b"\xff": b"x"}) == {"a": "1", "value": b"\xff"}
