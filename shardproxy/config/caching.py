"""Caching rules: what of which keys is loaded from where, how long it is kept, and where writes go.

What is wrong between values is found here, too, each with its place in the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from shardproxy.config.base import Section, refused
from shardproxy.config.caching_sources import CachingSource, HttpSource, PythonSource, SqlSource
from shardproxy.config.durations import Duration, PositiveDuration
from shardproxy.config.patterns import Text, pattern_names
from shardproxy.config.sizes import Size
from shardproxy.config.statements import read_statement

MAX_RULES = 1000
MAX_SOURCES = 100
MAX_SQL = 20_000  # characters
JITTER = 0.1

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
PART_IN_PATH = re.compile(r"\{([^{}]*)\}")

# What every statement may use beside the parts of `match`.
KEY = "key"  # the key itself
VALUE, VALUE_BYTES = "value", "value_bytes"  # what is written, as text and as bytes; not of a hash


class Form(Enum):
    """What a value is to clients."""

    JSON = "json"
    STRING = "string"
    HASH = "hash"
    LIST = "list"
    SET = "set"
    ZSET = "zset"


class Rows(Enum):
    """How many rows make a value."""

    ONE = "one"
    ALL = "all"


class WriteMode(Enum):
    """When a write reaches the database."""

    THROUGH = "through"
    BEHIND = "behind"
    NONE = "none"


class LoadFailure(Enum):
    """What clients hear when nothing can be loaded."""

    ERROR = "error"
    MISS = "miss"
    STALE = "stale"


class CachingPreset(Enum):
    """Settings that go together; what is written beside one counts more."""

    RECORD = "record"
    PAGE = "page"
    REFERENCE = "reference"
    SESSION = "session"


PRESETS: Mapping[CachingPreset, Mapping[str, Any]] = {
    CachingPreset.RECORD: {"ttl": "5m", "missing": "30s", "stale": "1m", "refresh_ahead": 0.8},
    CachingPreset.PAGE: {"ttl": "1m", "missing": "10s", "stale": "10m", "on_failure": "stale"},
    CachingPreset.REFERENCE: {
        "ttl": "1h",
        "missing": "1m",
        "stale": "1d",
        "refresh_ahead": 0.9,
        "on_failure": "stale",
    },
    CachingPreset.SESSION: {"ttl": "30m", "missing": "5s", "jitter": 0, "on_failure": "error"},
}

Sql = Annotated[str, Field(min_length=1, max_length=MAX_SQL)]
SourceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,49}$")]


class Load(Section):
    """How a value is loaded."""

    source: str
    """A name under `sources`."""
    sql: Annotated[Sql, Field(examples=["select name, email from users where id = :id"])] | None = None
    """Of a database: the statement. `:name` is a part of `match`, and `:key` the whole key."""
    path: Annotated[str, Field(max_length=4000, pattern=r"^/", examples=["/users/{id}"])] | None = None
    """Of a server: what is added to its url. `{name}` is a part of `match`, percent-encoded."""
    form: Form = Field(default=Form.STRING, alias="as")
    """What clients find: `json` (an object of the row's columns), `string` (its only column), `hash`, `list`,
    `set`, or `zset` (members and scores). memcached has json and string."""
    rows: Rows | None = None
    """`one`: several rows are an error. `all`: json is an array of all, a hash is made of rows of field and
    value. Default: `all` for list, set and zset, else `one`."""
    limit: Size = 8 << 20
    """The most bytes a value may have; one that has more is an error."""

    @property
    def rows_wanted(self) -> Rows:
        """How many rows make a value."""
        is_many = self.form in (Form.LIST, Form.SET, Form.ZSET)
        return self.rows or (Rows.ALL if is_many else Rows.ONE)


class Write(Section):
    """What a client's write does to the database."""

    mode: WriteMode
    """`through`: OK is said when both have it; `behind`: the database gets it later; `none`: never."""
    source: str | None = None
    """A name under `sources`. Default: that of `load`."""
    form: Form | None = Field(default=None, alias="as")
    """What clients write. Default: as `load` has it."""
    upsert: Sql | None = None
    """The statement for SET, HSET and the like. `:name` is a part of `match`, else a field of the JSON object
    or of the hash; `:key` is the key, `:value` what is written as text, `:value_bytes` as bytes."""
    delete: Sql | None = None
    """The statement for DEL. Without it DEL deletes in the cache alone."""
    optional: Annotated[tuple[str, ...], Field(max_length=1000)] = ()
    """Parameters of `upsert` that clients may leave out, which makes them NULL, as in
    coalesce(:email, email)."""


class Missing(Section):
    """What is remembered of keys that have no row."""

    ttl: Duration = 0.0
    """For how long that is known without asking; 0: it is not remembered."""


class Stale(Section):
    """How long an old value is served."""

    serve: Duration = 0.0
    """For how long beyond `ttl`: it is answered at once, and one refresh runs behind it. 0: not at all."""


def _short(section: type[Section], key: str) -> BeforeValidator:
    def expand(value: object) -> object:
        is_duration = isinstance(value, (str, int, float)) and not isinstance(value, bool)
        return {key: value} if is_duration else value

    return BeforeValidator(expand, json_schema_input_type=Duration | section)


class Rule(Section):
    """What happens to the keys of one pattern."""

    match: Annotated[Text, Field(examples=["user:{id}:profile"])]
    """Which keys: `*` is any bytes, `{name}` one or more, `[0-9a-f]` one of a set, the rest itself."""
    preset: CachingPreset | None = None
    """Settings for a kind of data, unless written here: `record` (a row: 5m, 1m stale, refreshed ahead),
    `page` (rendered or fetched: 1m, 10m stale, and longer while the source is down), `reference` (seldom
    changes: 1h, 1d stale, and longer), `session` (30m, never stale)."""
    load: Load | None = None
    """How a value is loaded that is not there."""
    ttl: PositiveDuration | None = None
    """How long a value is kept."""
    jitter: Annotated[float, Field(ge=0, le=0.9)] = JITTER
    """By up to which part `ttl` is shortened at random: keys filled together do not expire together."""
    missing: Annotated[Missing, _short(Missing, "ttl")] = Missing.as_default()
    """What is remembered of keys that have no row."""
    stale: Annotated[Stale, _short(Stale, "serve")] = Stale.as_default()
    """How long an old value is served while it is loaded again."""
    refresh_ahead: Annotated[float, Field(gt=0, lt=1)] | None = None
    """A value that is asked for after this part of its life is loaded again before it expires."""
    on_failure: LoadFailure = LoadFailure.ERROR
    """What clients hear when the source is down, busy or slow and there is no value: `error`, or `miss` as if
    there were none. `stale`: an old value is kept for as long as that lasts; without one it is an error."""
    write: Write | None = None
    """What a client's write does to the database. Default: nothing."""

    @model_validator(mode="before")
    @classmethod
    def _preset_is_written_out(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        try:
            preset = CachingPreset(values.get("preset"))
        except ValueError:
            return values
        return {**PRESETS[preset], **values}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        faults = list(self._faults())
        if faults:
            raise ValidationError.from_exception_data("Rule", faults, hide_input=True)
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parts of a key."""
        return tuple(pattern_names(self.match))

    @property
    def loads(self) -> bool:
        return self.load is not None

    @property
    def writes(self) -> bool:
        return self.write is not None and self.write.mode is not WriteMode.NONE

    @property
    def checks(self) -> bool:
        """Whether hits are asked for their age."""
        return self.loads and (self.stale.serve > 0 or self.refresh_ahead is not None)

    @property
    def written_form(self) -> Form:
        """What clients write."""
        if self.write is not None and self.write.form is not None:
            return self.write.form
        return self.load.form if self.load is not None else Form.STRING

    @property
    def write_source(self) -> str | None:
        """Where writes go."""
        if self.write is None or not self.writes:
            return None
        return self.write.source or (self.load.source if self.load is not None else None)

    def _faults(self) -> Iterator[InitErrorDetails]:
        try:
            names = pattern_names(self.match)
        except Exception as e:  # noqa: BLE001  # a PydanticCustomError is passed on with its place
            yield _fault(("match",), e)
            return
        yield from self._faults_of_match(names)
        if self.load is None and not self.writes:
            yield _fault((), "loads nothing and writes nothing", "add load: {source: ..., sql: ...}")
        if self.load is not None:
            yield from self._faults_of_load(self.load, names)
        else:
            for key in ("missing", "stale", "refresh_ahead", "on_failure"):
                if key in self.model_fields_set and not self.preset:
                    yield _fault((key,), "has no use without load", f"leave out {key}, or add load")
        if self.write is not None:
            yield from self._faults_of_write(self.write, names)

    def _faults_of_match(self, names: list[str]) -> Iterator[InitErrorDetails]:
        for name in dict.fromkeys(names):
            if _NAME.fullmatch(name) is None:
                yield _fault(
                    ("match",), f"{{{name}}} is no name for a parameter", "use letters, digits and _"
                )
            elif names.count(name) > 1:
                yield _fault(("match",), f"{{{name}}} stands in it {names.count(name)} times", "name each")
            elif name in (VALUE, VALUE_BYTES):
                yield _fault(("match",), f"{{{name}}} is what is written", "choose another name")
            elif name == KEY:
                yield _fault(("match",), f"{{{name}}} is the whole key", "choose another name")

    def _faults_of_load(self, load: Load, names: list[str]) -> Iterator[InitErrorDetails]:
        if self.ttl is None:
            yield _fault((), "has load, and no ttl", "add ttl: 5m, or a preset: record")
        if self.on_failure is LoadFailure.STALE and self.stale.serve == 0:
            yield _fault(
                ("on_failure",), "stale needs a time for which old values are served", "add stale: 1m"
            )
        if load.rows is Rows.ONE and load.form in (Form.LIST, Form.SET, Form.ZSET):
            yield _fault(("load", "rows"), f"a {load.form.value} is made of all rows", "leave out rows")
        if load.rows is Rows.ALL and load.form is Form.STRING:
            yield _fault(("load", "rows"), "a string is made of one row", "write as: json, or as: list")
        if load.limit == 0:
            yield _fault(("load", "limit"), "must be at least 1b")
        if (load.sql is None) == (load.path is None):
            return  # what belongs there is said by the source's kind
        known = {*names, KEY}
        if load.sql is not None:
            yield from _unknown(("load", "sql"), read_statement(load.sql).names, known, names)
        if load.path is not None:
            yield from _path_faults(load.path, names)

    def _faults_of_write(self, write: Write, names: list[str]) -> Iterator[InitErrorDetails]:
        if write.mode is WriteMode.NONE:
            for key in ("upsert", "delete", "optional"):
                if getattr(write, key):
                    yield _fault(
                        ("write", key), "has no use with mode: none", "write mode: through or behind"
                    )
            return
        if write.upsert is None:
            yield _fault(
                ("write",),
                f"mode: {write.mode.value} needs upsert",
                "add upsert: insert into ...",
            )
        if write.source is None and self.load is None:
            yield _fault(("write",), "names no source", "add source: and a name under sources")
        form = self.written_form
        if form not in (Form.JSON, Form.STRING, Form.HASH):
            yield _fault(
                ("write",),
                f"a {form.value} is written to no database",
                "write as: json, string or hash",
            )
        if self.load is not None and (form is Form.HASH) != (self.load.form is Form.HASH):
            yield _fault(
                ("write", "as"),
                f"{form.value} is not what is loaded: {self.load.form.value}",
                "a key has one type",
            )
        if write.delete is not None:
            asked = read_statement(write.delete).names
            yield from _unknown(("write", "delete"), asked, {*names, KEY}, names)
        if write.upsert is not None:
            asked = read_statement(write.upsert).names
            if form is Form.STRING:  # of the others, any name may be a field
                yield from _unknown(("write", "upsert"), asked, {*names, KEY, VALUE, VALUE_BYTES}, names)
            for i, name in enumerate(write.optional):
                if name not in asked:
                    yield _fault(("write", "optional", i), f":{name} is no parameter of upsert")
                elif name in (*names, KEY) or (name in (VALUE, VALUE_BYTES) and form is not Form.HASH):
                    yield _fault(("write", "optional", i), f":{name} is always there", "leave it out")


class Invalidate(Section):
    """A channel of PostgreSQL on which is said what was changed by others."""

    source: str
    """A name under `sources`, of a PostgreSQL."""
    channel: Annotated[str, Field(min_length=1, max_length=63, examples=["cache"])]
    """As in NOTIFY. The payload is a key, a JSON array of keys, or a JSON object of parts, as in {"id": 42}:
    it stands for the keys of all rules whose parts are among them. An empty one stands for all keys."""


def _as_list(value: object) -> object:
    return [value] if isinstance(value, Mapping) else value


class Caching(Section):
    """What the proxy loads and writes for applications, which just say GET and SET."""

    sources: Annotated[dict[SourceName, CachingSource], Field(min_length=1, max_length=MAX_SOURCES)]
    """Where values come from, by names of your choice."""
    rules: Annotated[tuple[Rule, ...], Field(min_length=1, max_length=MAX_RULES)]
    """What happens to which keys; the first rule that matches counts."""
    invalidate: Annotated[
        tuple[Invalidate, ...],
        Field(max_length=20),
        BeforeValidator(_as_list, json_schema_input_type=Invalidate | list[Invalidate]),
    ] = ()
    """Channels on which databases say what was changed by others."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        faults = list(self._faults())
        if faults:
            raise ValidationError.from_exception_data("Caching", faults, hide_input=True)
        return self

    def _faults(self) -> Iterator[InitErrorDetails]:
        for i, rule in enumerate(self.rules):
            if rule.load is not None:
                yield from self._faults_of_load(("rules", i, "load"), rule.load)
            if (name := rule.write_source) is not None:
                at = ("write", "source") if rule.write and rule.write.source else ("write",)
                source = self.sources.get(name)
                if source is None and at[-1] == "source":
                    yield self._no_source(("rules", i, *at), name)
                elif source is not None and not isinstance(source, SqlSource):
                    hint = "name another source there, or leave out write"
                    yield _fault(("rules", i, *at), f"{name} is no database: nothing is written to it", hint)
        for i, one in enumerate(self.invalidate):
            where = ("invalidate", i, "source")
            source = self.sources.get(one.source)
            if source is None:
                yield self._no_source(where, one.source)
            elif not isinstance(source, SqlSource) or not source.is_postgres:
                yield _fault(where, f"{one.source} is no PostgreSQL: it has no channels")

    def _faults_of_load(self, at: tuple[str | int, ...], load: Load) -> Iterator[InitErrorDetails]:
        source = self.sources.get(load.source)
        if source is None:
            yield self._no_source((*at, "source"), load.source)
            return
        given = {"sql": load.sql, "path": load.path}
        match source:
            case SqlSource():
                wanted, what, hint = "sql", "a database", "add sql: select ... where id = :id"
            case HttpSource():
                wanted, what, hint = "path", "a server", 'add path: "/users/{id}"'
            case PythonSource():
                wanted, what, hint = "", "a function", ""
        if wanted and given[wanted] is None:
            yield _fault(at, f"{load.source} is {what}, and {wanted} is missing", hint)
        for key, value in given.items():
            if key != wanted and value is not None:
                yield _fault((*at, key), f"{load.source} is {what}: {key} has no use", f"leave out {key}")

    def _no_source(self, at: tuple[str | int, ...], name: str) -> InitErrorDetails:
        return _fault(at, f"there is no source {name}", f"known here: {', '.join(self.sources)}")


def why_not_for_memcached(caching: Caching) -> list[InitErrorDetails]:
    """What memcached cannot keep; places are from the cluster."""
    found = []
    for i, rule in enumerate(caching.rules):
        at = ("caching", "rules", i)
        for key, form in (
            ("load", rule.load.form if rule.load else None),
            ("write", rule.write.form if rule.write else None),
        ):
            if form not in (None, Form.JSON, Form.STRING):
                assert form is not None
                fault = _fault((*at, key, "as"), f"memcached has no {form.value}", "write as: json or string")
                found.append(fault)
        if rule.write is not None and rule.write.mode is WriteMode.BEHIND:
            why = (
                "memcached has no place for writes that the database lacks: they would be lost with the node"
            )
            found.append(_fault((*at, "write", "mode"), why, "write mode: through"))
        if rule.load is not None and rule.preset is not None and rule.checks:
            why = f"preset {rule.preset.value} serves old values or loads ahead, and memcached can do neither"
            found.append(_fault((*at, "preset"), why, "write ttl and missing instead"))
        elif rule.load is not None:
            if rule.stale.serve > 0:
                why = "memcached keeps no value beyond its ttl"
                found.append(_fault((*at, "stale"), why, "leave it out"))
            if rule.refresh_ahead is not None:
                why = "values in memcached are not loaded again before they expire"
                found.append(_fault((*at, "refresh_ahead"), why, "leave it out"))
    if caching.invalidate:
        why = "memcached does not say which keys it has: those whose change was missed could not be found"
        found.append(_fault(("caching", "invalidate"), why, "leave it out, and make ttl short"))
    return found


def _unknown(
    at: tuple[str | int, ...], asked: Iterable[str], known: set[str], names: Iterable[str]
) -> Iterator[InitErrorDetails]:
    for name in asked:
        if name not in known:
            parts = ", ".join(f":{one}" for one in names) or "none"
            yield _fault(at, f"nothing gives :{name} its value", f"parts of match: {parts}; or :{KEY}")


def _path_faults(path: str, names: Iterable[str]) -> Iterator[InitErrorDetails]:
    known = set(names)
    for name in PART_IN_PATH.findall(path):
        if name not in known:
            parts = ", ".join(f"{{{one}}}" for one in names) or "none"
            yield _fault(("load", "path"), f"nothing gives {{{name}}} its value", f"parts of match: {parts}")
    plain = PART_IN_PATH.sub("x", path)
    if "{" in plain or "}" in plain or "#" in plain or any(c.isspace() for c in plain):
        yield _fault(("load", "path"), "is not a path", 'write it like "/users/{id}"')
    if {".", ".."} & set(plain.split("?", 1)[0].split("/")):
        yield _fault(("load", "path"), "has . or .. in it", "write the path that is meant")


def _fault(at: tuple[str | int, ...], why: object, hint: str | None = None) -> InitErrorDetails:
    error = refused(why, hint) if isinstance(why, str) else why
    return InitErrorDetails(type=error, loc=at, input=at)  # type: ignore[typeddict-item]
