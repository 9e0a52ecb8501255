"""The JSON Schema of the config file, for editors."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator
from itertools import pairwise
from textwrap import dedent
from typing import Any

from shardproxy.config.base import Section
from shardproxy.config.limits import ClusterLimits, ProcessLimits
from shardproxy.config.root import Config
from shardproxy.config.timeouts import ClusterTimeouts, ProcessTimeouts

DIALECT = "https://json-schema.org/draft/2020-12/schema"

# Sections of sizes and durations: their defaults are shown as people write them.
IN_UNITS: tuple[type[Section], ...] = (ProcessLimits, ClusterLimits, ProcessTimeouts, ClusterTimeouts)


def schema() -> dict[str, Any]:
    """Describe every key of the file."""
    described = Config.model_json_schema(by_alias=True, mode="validation")
    for section in _sections(Section):
        place = described if section is Config else described["$defs"].get(section.__name__)
        if place is not None:
            _explain_keys(section, place["properties"])
    for section in IN_UNITS:
        for key, default in section().model_dump(mode="json", by_alias=True).items():
            described["$defs"][section.__name__]["properties"][key]["default"] = default
    described["properties"]["admin"]["default"] = str(Config.model_fields["admin"].default)
    described["properties"]["clusters"]["additionalProperties"] = False
    _tidy(described)
    return {"$schema": DIALECT, "title": "shardproxy configuration", **described}


def schema_text() -> str:
    """Return the schema as it is kept in config/schema.json."""
    return json.dumps(schema(), indent=2) + "\n"


def _sections(section: type[Section]) -> Iterator[type[Section]]:
    for narrower in section.__subclasses__():
        yield narrower
        yield from _sections(narrower)


def _explain_keys(section: type[Section], properties: dict[str, Any]) -> None:
    texts: dict[str, str | None] = {}
    for owner in reversed(section.__mro__):
        if issubclass(owner, Section):
            texts |= _docstrings(owner)
    for name, field in section.model_fields.items():
        if text := texts.get(name):
            key = field.alias or name
            properties[key] = dict(sorted({**properties[key], "description": text}.items()))


def _docstrings(section: type[Section]) -> dict[str, str | None]:
    """Find the string below each field of a class; None where there is none."""
    body = ast.parse(dedent(inspect.getsource(section))).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str | None] = {}
    for statement, after in pairwise([*body.body, ast.Pass()]):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            below = after.value if isinstance(after, ast.Expr) else None
            text = below.value if isinstance(below, ast.Constant) else None
            found[statement.target.id] = inspect.cleandoc(text) if isinstance(text, str) else None
    return found


def _tidy(described: Any) -> None:
    """Leave out what only repeats the key, and null, which no key takes."""
    if isinstance(described, list):
        for one in described:
            _tidy(one)
    if not isinstance(described, dict):
        return
    if isinstance(described.get("title"), str):
        del described["title"]
    if described.get("default", "") is None or isinstance(described.get("default"), dict):
        del described["default"]
    choices = [one for one in described.get("anyOf", []) if one != {"type": "null"}]
    if len(choices) == 1:
        del described["anyOf"]
        described.update({key: value for key, value in choices[0].items() if key not in described})
    elif choices:
        described["anyOf"] = choices
    for value in described.values():
        _tidy(value)
