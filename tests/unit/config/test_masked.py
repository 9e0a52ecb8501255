"""A config that is shown has no secret in it, wherever one is written, or may be by mistake."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import shardproxy.config as package
from shardproxy.config import load_config
from shardproxy.config.base import Section
from shardproxy.config.secrets import Secret
from shardproxy.config.shown import HASHES, HIDDEN, MASK, PLACES, config_text, config_values, masked

FOLDER = Path(package.__file__).parents[2] / "config"
EXAMPLES = sorted(path for path in FOLDER.glob("*.yaml") if path.stem != "node-types")  # that is no config
SECRET = "Zq7-s3cret-xW"  # nothing else here has this in it


def sections() -> Iterator[type[Section]]:
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
    waiting: list[type[Section]] = [Section]
    while waiting:
        for one in waiting.pop().__subclasses__():
            waiting.append(one)
            yield one


def secret_types(annotation: Any) -> Iterator[type[Secret]]:
    if isinstance(annotation, type) and issubclass(annotation, Secret):
        yield annotation
    for part in get_args(annotation):
        yield from secret_types(part)


FIELDS = {
    name: kinds
    for section in sections()
    for name, field in section.model_fields.items()
    if (kinds := tuple(secret_types(field.annotation)))
}


def test_every_secret_has_a_name_below_which_things_are_hidden() -> None:
    assert FIELDS.keys() >= {"password", "passwords", "tokens", "token", "secret_access_key"}
    assert FIELDS.keys() - HIDDEN == set()


def test_of_a_secret_only_its_place_and_its_owner_are_shown() -> None:
    parts = {name for kinds in FIELDS.values() for kind in kinds for name in kind.model_fields}
    assert parts - PLACES - HASHES == set()


# Whatever else the machine does meanwhile.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

literals = st.one_of(
    st.just(SECRET),
    st.text("aZ09/+=", max_size=8).map(lambda more: more + SECRET),
    st.lists(st.just(SECRET), min_size=1, max_size=3),
    st.fixed_dictionaries({"value": st.just(SECRET)}),
    st.lists(st.fixed_dictionaries({"sha256": st.just(SECRET), "name": st.just("ops")}), min_size=1),
)
hidden = st.dictionaries(st.sampled_from(sorted(HIDDEN | HASHES)), literals, min_size=1)
documents = st.recursive(
    hidden,
    lambda below: st.one_of(
        st.lists(below, min_size=1, max_size=3),
        st.dictionaries(st.sampled_from(["clusters", "main", "file", "name", "env", "x"]), below, min_size=1),
    ),
    max_leaves=4,
)


@settings(PATIENT)
@given(documents)
def test_what_stands_where_secrets_do_is_never_shown(document: Any) -> None:
    assert SECRET not in json.dumps(masked(document))


@settings(PATIENT)
@given(
    st.sampled_from(["postgresql://app", "redis://", "https://user", "amqp+ssl://u%40b"]),
    st.sampled_from("/?#"),
)
def test_a_password_in_a_url_is_never_shown(begin: str, end: str) -> None:
    url = f"{begin}:{SECRET}@db.example:5432{end}x=1"
    shown = masked({"sources": [{"url": url}]})["sources"][0]["url"]
    assert SECRET not in shown
    assert shown.endswith(f"@db.example:5432{end}x=1")


@pytest.mark.parametrize("key", ["password", "sslPassword", "api_key", "access_token", "client-secret"])
def test_a_secret_in_the_query_of_a_url_is_never_shown(key: str) -> None:
    shown = masked(f"https://h.example/p?a=1&{key}={SECRET}&b=2")
    assert shown == f"https://h.example/p?a=1&{key}={MASK}&b=2"


def test_what_is_no_secret_stays_as_it_is() -> None:
    plain = {
        "endpoints": {"primary": ["127.0.0.1:7000", "[::1]:7000"]},
        "node_auth": {"password": {"file": "/run/secrets/x"}, "username": "app"},
        "tokens": [{"name": "ops", "rights": "act", "env": "OPS_TOKEN"}],
        "url": "postgresql+psycopg://app@db/app?sslmode=verify-full",
        "shards": [{"slots": "0-100", "weight": 1.5, "enabled": True, "none": None}],
    }
    assert masked(plain) == plain


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_shown_without_hashes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = path.read_text()
    for name in re.findall(r"env: *([A-Z_]+)", text):
        monkeypatch.setenv(name, SECRET)
    config = load_config(path)
    for shown in (config_text(config, with_defaults=True), json.dumps(config_values(config))):
        assert SECRET not in shown
        assert not re.search(r"\b[0-9a-f]{64}\b", shown)
