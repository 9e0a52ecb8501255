"""Every example config loads, and the schema says what the code does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from shardproxy.config import RedisCluster, load_config, schema, schema_text

FOLDER = Path(__file__).parents[3] / "config"
EXAMPLES = sorted(path for path in FOLDER.glob("*.yaml") if path.stem != "node-types")  # that is no config


@pytest.fixture(scope="module")
def validator() -> Any:
    jsonschema.Draft202012Validator.check_schema(schema())
    return jsonschema.Draft202012Validator(schema())


def test_there_are_examples() -> None:
    assert {"standalone", "cluster", "memcached", "sidecar"} <= {path.stem for path in EXAMPLES}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_loads(path: Path) -> None:
    config = load_config(path)
    for name, cluster in config.clusters.items():
        is_delegated = isinstance(cluster, RedisCluster) and cluster.is_delegated
        assert is_delegated or cluster.topology(name).nodes


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_fits_the_schema(path: Path, validator: Any) -> None:
    assert path.read_text().startswith("# yaml-language-server: $schema=schema.json\n")
    validator.validate(YAML(typ="safe").load(path.read_text()))


def test_the_defaults_in_the_cluster_example_are_the_defaults() -> None:
    given = load_config(FOLDER / "cluster.yaml")
    plain = load_config(FOLDER / "standalone.yaml")
    assert given.model_copy(update={"clusters": {}}) == plain.model_copy(update={"clusters": {}})
    mine, default = given.clusters["sessions"], plain.clusters["main"]
    assert (mine.limits, mine.timeouts) == (default.limits, default.timeouts)
    assert getattr(mine, "reads") == getattr(default, "reads")  # noqa: B009


def test_the_schema_in_the_repository_is_the_one_of_the_code() -> None:
    kept = (FOLDER / "schema.json").read_text()
    assert kept == schema_text(), "run: shardproxy config schema > config/schema.json"
    assert json.loads(kept) == schema()


def test_every_key_is_described() -> None:
    described = schema()
    bare = [
        f"{name}.{key}"
        for name, section in [("Config", described), *described["$defs"].items()]
        for key, value in section.get("properties", {}).items()
        if "description" not in value and "description" not in _target(value, described)
    ]
    assert not bare


def test_the_schema_knows_no_null() -> None:
    assert "null" not in schema_text()


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("workers",), 0),
        (("admn",), "127.0.0.1:9700"),
        (("limits", "buffers"), "12 parsecs"),
        (("clusters", "main", "engine"), "memcachd"),
        (("clusters", "main", "shards"), []),
        (("clusters", "main", "shards", 0, "slots"), "a-b"),
        (("clusters", "main", "shards", 0, "name"), "17"),
        (("clusters", "main", "shards", 0, "name"), "new users"),
        (("clusters", "main", "endpoints", "configuration"), {"mode": "proxy"}),
        (("clusters", "main", "node_auth"), {"password": "hunter2"}),
        (("clusters", "bad name!"), {}),
    ],
    ids=str,
)
def test_the_schema_refuses_what_the_code_refuses(
    where: tuple[str | int, ...], value: object, validator: Any
) -> None:
    config = YAML(typ="safe").load((FOLDER / "standalone.yaml").read_text())
    config["limits"] = {}
    target = config
    for part in where[:-1]:
        target = target[part]
    target[where[-1]] = value
    assert list(_errors(validator, config))


def _errors(validator: Any, config: object) -> Iterator[Any]:
    yield from validator.iter_errors(config)


def _target(value: dict[str, Any], described: dict[str, Any]) -> dict[str, Any]:
    name = str(value.get("$ref", "")).rpartition("/")[2]
    return dict(described["$defs"].get(name, {}))
