"""Secrets come from files and the environment, and never show."""

from __future__ import annotations

from pathlib import Path

import pytest

from shardproxy.config import ConfigError, Credentials, NodeAuth, Secret, SecretError, parse_config
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
