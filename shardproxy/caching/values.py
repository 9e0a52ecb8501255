"""What was loaded as the value that clients find, and what they write as parameters. Knows no source."""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from shardproxy.caching.sources.interface import Body, Given, Loaded, Rows, SourceRefusedError, Value
from shardproxy.config.caching import VALUE, VALUE_BYTES, Form
from shardproxy.config.caching import Rows as Wanted

Fields = Mapping[bytes, bytes]
Command = tuple[bytes, ...]

BATCH = 1000  # elements in a command that fills a list, set, hash or sorted set


@dataclass(frozen=True, slots=True)
class Shape:
    """What a loaded value has to be."""

    form: Form
    rows: Wanted
    limit: int  # bytes of all that is stored


def commands_of(key: bytes, loaded: Loaded, shape: Shape) -> list[Command]:
    """The commands that make the value of a key, without its TTL; none where there is no value after all.

    Those of lists, sets, hashes and sorted sets begin with a DEL. Raise SourceRefusedError.
    """
    words = list(_MADE_OF[type(loaded)](loaded, shape))
    if sum(map(len, words)) > shape.limit:
        raise SourceRefusedError(f"the value is larger than {shape.limit} bytes")
    if not words:
        return []
    if shape.form in (Form.JSON, Form.STRING):
        return [(b"SET", key, words[0])]
    name = _FILLED_BY[shape.form]
    batches = (words[i : i + BATCH] for i in range(0, len(words), BATCH))
    return [(b"DEL", key), *((name, key, *batch) for batch in batches)]


_FILLED_BY = {Form.LIST: b"RPUSH", Form.SET: b"SADD", Form.HASH: b"HSET", Form.ZSET: b"ZADD"}


def _of_rows(rows: Rows, shape: Shape) -> Iterator[bytes]:
    if shape.rows is Wanted.ONE and len(rows.rows) > 1:
        raise SourceRefusedError("the statement finds several rows, and one makes the value")
    first = rows.rows[0]
    match shape.form:
        case Form.JSON if shape.rows is Wanted.ALL:
            yield json_text([_row(rows.columns, row) for row in rows.rows])
        case Form.JSON:
            yield json_text(_row(rows.columns, first))
        case Form.STRING:
            _has_columns(rows, 1)
            if first[0] is not None:
                yield scalar(first[0])
        case Form.HASH if shape.rows is Wanted.ONE:
            yield from _pairs(_row(rows.columns, first))
        case Form.HASH:
            _has_columns(rows, 2)
            yield from _pairs({_member(field): value for field, value in rows.rows})
        case Form.LIST | Form.SET:
            _has_columns(rows, 1)
            yield from (_member(row[0]) for row in rows.rows)
        case Form.ZSET:
            _has_columns(rows, 2)
            yield from _scores({_member(member): score for member, score in rows.rows})


def _row(columns: tuple[str, ...], row: tuple[Any, ...]) -> dict[str, Any]:
    if len(set(columns)) < len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        raise SourceRefusedError(f"the statement has several columns {twice}: name them apart with as")
    return dict(zip(columns, row, strict=True))


def _has_columns(rows: Rows, count: int) -> None:
    if len(rows.columns) != count:
        raise SourceRefusedError(why_not_columns(len(rows.columns), count))


def why_not_columns(given: int, wanted: int) -> str:
    return f"the statement has {given} columns, and {wanted} make{'s' * (wanted == 1)} the value"


def columns_wanted(form: Form, rows: Wanted) -> int | None:
    """How many columns a statement has to have; None where any number does."""
    match form:
        case Form.STRING | Form.LIST | Form.SET:
            return 1
        case Form.ZSET:
            return 2
        case Form.HASH:
            return 2 if rows is Wanted.ALL else None
    return None


def _of_body(body: Body, shape: Shape) -> Iterator[bytes]:
    if shape.form is Form.STRING:
        yield body.content
        return
    try:
        value = json.loads(body.content)
    except (ValueError, RecursionError):
        raise SourceRefusedError("what the server answered is not JSON") from None
    if shape.form is Form.JSON:
        yield body.content  # as it came: numbers stay as they are written
    elif value is not None:
        yield from _of_plain(value, shape.form)


def _of_value(value: Value, shape: Shape) -> Iterator[bytes]:
    match shape.form:
        case Form.JSON:
            yield json_text(value.value)
        case Form.STRING:
            yield scalar(value.value)
        case _:
            yield from _of_plain(value.value, shape.form)


def _of_plain(value: Any, form: Form) -> Iterator[bytes]:
    if form in (Form.HASH, Form.ZSET):
        if not isinstance(value, Mapping):
            raise SourceRefusedError(f"what was loaded is no mapping, and a {form.value} is made of one")
        yield from _pairs(value) if form is Form.HASH else _scores(value)
        return
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise SourceRefusedError(f"what was loaded is no list, and a {form.value} is made of one")
    yield from map(_member, value)


_MADE_OF: Mapping[type, Callable[[Any, Shape], Iterator[bytes]]] = {
    Rows: _of_rows,
    Body: _of_body,
    Value: _of_value,
}


def _pairs(fields: Mapping[Any, Any]) -> Iterator[bytes]:
    for field, value in fields.items():
        if value is not None:  # a hash has no NULL: the field is not there
            yield _member(field)
            yield scalar(value)


def _scores(members: Mapping[Any, Any]) -> Iterator[bytes]:
    for member, score in members.items():
        try:
            number = float(score)
        except (TypeError, ValueError, OverflowError):
            raise SourceRefusedError("a score is no number") from None
        if number != number:
            raise SourceRefusedError("a score is no number")
        yield repr(number).encode()
        yield _member(member)


def _member(value: Any) -> bytes:
    if value is None:
        raise SourceRefusedError("an element is NULL, and there is no such element")
    return scalar(value)


def scalar(value: Any) -> bytes:
    """A single value as engines keep it: text, the bytes, 1 and 0 for booleans, JSON for what is nested."""
    match value:
        case bytes() | bytearray() | memoryview():
            return bytes(value)
        case bool():
            return b"1" if value else b"0"
        case str():
            return _utf8(value)
        case int():
            return str(value).encode()
        case float():
            return repr(value).encode()
        case Decimal():
            return format(value, "f").encode()
        case Mapping() | list() | tuple():
            return json_text(value)
    return _utf8(str(_plain(value)))


def json_text(value: Any) -> bytes:
    """Compact JSON; times as ISO 8601, bytes as base64, what JSON has no type for as text."""
    try:
        text = json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (ValueError, TypeError, RecursionError) as e:
        raise SourceRefusedError(f"the value cannot be JSON: {e}") from None
    return _utf8(text)


def _plain(value: Any) -> Any:
    match value:
        case datetime.datetime() | datetime.date() | datetime.time():
            return value.isoformat()
        case datetime.timedelta():
            return value.total_seconds()
        case Decimal():
            if not value.is_finite() or Decimal(repr(float(value))) != value:
                return str(value)
            return int(value) if value == value.to_integral_value() else float(value)
        case UUID():
            return str(value)
        case bytes() | bytearray() | memoryview():
            return base64.b64encode(bytes(value)).decode()
        case set() | frozenset():
            return list(value)
        case Mapping():
            return dict(value)
    return str(value)


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise SourceRefusedError("a text has half a surrogate pair in it") from None


def given_by_text(form: Form, raw: bytes) -> Given:
    """Parameters that a string makes: `value` and `value_bytes` and, of JSON, the fields of the object.

    `value` is missing where it is not UTF-8. Raise SourceRefusedError where JSON is wanted and it is none.
    """
    given: dict[str, Any] = {}
    if form is Form.JSON:
        try:
            document = json.loads(raw)
        except (ValueError, RecursionError):
            raise SourceRefusedError("the value is not JSON") from None
        if isinstance(document, dict):
            given = {field: _bindable(value) for field, value in document.items()}
    given[VALUE_BYTES] = raw
    try:
        given[VALUE] = raw.decode()
    except UnicodeDecodeError:
        given.pop(VALUE, None)
    return given


def given_by_fields(fields: Fields) -> Given:
    """Parameters that the fields of a hash make: text where it is UTF-8, else bytes."""
    given: dict[str, Any] = {}
    for field, value in fields.items():
        try:
            given[field.decode()] = _text_or_bytes(value)
        except UnicodeDecodeError:
            continue  # no parameter has such a name
    return given


def _text_or_bytes(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _bindable(value: Any) -> Any:
    return json_text(value).decode() if isinstance(value, (dict, list)) else value
