"""Secrets come from files and the environment, and never show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from shardproxy.access import iam_keys
from shardproxy.config import ConfigError, Credentials, NodeAuth, Secret, SecretError, parse_config
from shardproxy.config.base import Section
from shardproxy.config.checks import SAID, SECRETS, show
from shardproxy.config.secrets import MAX_SECRET

TEXT = """\
clusters:
  main:
    engine: redis
    endpoints: {configuration: 127.0.0.1:7000}
    shards: [{nodes: ["127.0.0.1:6379"]}]
    node_auth: {username: proxy, password: PASSWORD}
"""


@pytest.mark.parametrize("content", [b"hunter2", b"hunter2\n", b"hunter2\r\n"])
def test_a_secret_is_read_from_its_file(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    assert Secret(file=str(file)).read() == "hunter2"


def test_a_secret_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PASSWORD", "hunter2")
    assert Secret(env="REDIS_PASSWORD").read() == "hunter2"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot read the secret in file .*: No such file"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff", "is not UTF-8 text"),
        (b"x" * (MAX_SECRET + 1), "too large"),
    ],
)
def test_an_unusable_file_is_named(tmp_path: Path, content: bytes | None, why: str) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SecretError, match=why) as caught:
        Secret(file=str(file)).read()
    assert str(file) in str(caught.value)


def test_an_unset_variable_is_named() -> None:
    with pytest.raises(SecretError, match="environment variable SHARDPROXY_NO_SUCH is not set"):
        Secret(env="SHARDPROXY_NO_SUCH").read()


def test_a_password_does_not_show() -> None:
    assert "hunter2" not in repr(Credentials("proxy", "hunter2"))


def test_where_the_password_is_comes_from_the_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PASSWORD", "hunter2")
    config = parse_config(TEXT.replace("PASSWORD", "{env: REDIS_PASSWORD}"))
    auth = getattr(config.clusters["main"], "node_auth")  # noqa: B009
    assert isinstance(auth, NodeAuth)
    assert auth.read() == Credentials("proxy", "hunter2")
    assert "hunter2" not in repr(config)


@pytest.mark.parametrize(
    ("password", "message"),
    [
        ("hunter2", "a password is never written in the config"),
        ("123456", "a password is never written in the config"),
        ("{}", "give exactly one of file and env"),
        ("{file: /run/hunter2, env: HUNTER2}", "give exactly one of file and env"),
        ("{file: hunter2}", "must be an absolute path"),
        ("{env: hunter-2}", "is not the name of an environment variable"),
        ("{value: hunter2}", "is not a known key"),
        ("[hunter2]", "must be a mapping"),
    ],
)
def test_a_password_stands_elsewhere_and_is_not_shown(password: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(TEXT.replace("PASSWORD", password))
    assert message in caught.value.problems[0].message
    assert caught.value.problems[0].path.startswith("clusters.main.node_auth.password")
    assert "hunter" not in str(caught.value)
    assert "123456" not in str(caught.value)


def sections(section: type[Section]) -> Iterator[type[Section]]:
    for narrower in section.__subclasses__():
        yield narrower
        yield from sections(narrower)


def named_in(annotation: object) -> Iterator[object]:
    yield annotation
    for argument in get_args(annotation):
        yield from named_in(argument)


def test_every_field_that_may_hold_a_secret_is_known_to_be_one() -> None:
    assert iam_keys.MAX_KEYS, "its sections are there"
    kinds = [Secret, *sections(Secret)]
    found = {
        name
        for section in sections(Section)
        for name, field in section.model_fields.items()
        if any(one in kinds for one in named_in(field.annotation))
    }
    assert {"password", "passwords", "secret_access_key", "session_token", "tokens"} <= found <= SECRETS
    keys = {name for section in sections(Section) if section in kinds for name in section.model_fields}
    assert keys <= SAID


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (("keys", 0, "secret_access_key", "hunter2"), "keys[0].secret_access_key.***"),
        (("keys", 0, "secret_access_key", "file", "hunter2"), "keys[0].secret_access_key.file.***"),
        (("users", 0, "passwords", 1, "sha256"), "users[0].passwords[1].sha256"),
        (("clusters", "password", "engine"), "clusters.password.engine"),
        (("clusters", "password", "node_auth", "password", "x"), "clusters.password.node_auth.password.***"),
    ],
)
def test_a_path_shows_no_secret(path: tuple[str | int, ...], shown: str) -> None:
    assert show(path) == shown
