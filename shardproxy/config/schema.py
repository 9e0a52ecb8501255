"""The JSON Schema of the config file, for editors."""

from __future__ import annotations

import json
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
