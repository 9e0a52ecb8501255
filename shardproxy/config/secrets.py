"""Passwords come from a file or the environment, never from the config itself, and never show."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from shardproxy.config.base import Section, refused
from shardproxy.config.plain import read_bytes

MAX_SECRET = 64 << 10  # bytes; more is the wrong file

_HINT = "write {file: /run/secrets/redis-password} or {env: REDIS_PASSWORD}"


class SecretError(Exception):
    """A secret that cannot be read; the text names where it should have been, never what it is."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a connection to a node logs in with."""

    username: str | None
    password: str = field(repr=False)


class Secret(Section):
    """Where a secret is kept: exactly one of `file` and `env`."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    file: Annotated[str, Field(pattern=r"^/", examples=["/run/secrets/redis-password"])] | None = None
    """Absolute path of a file that holds the secret; one newline at its end is ignored."""
    env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", examples=["REDIS_PASSWORD"])] | None = None
    """Name of an environment variable that holds the secret."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.file is None) == (self.env is None):
            raise refused("give exactly one of file and env", _HINT)
        return self

    def read(self) -> str:
        """Fetch the secret now; raise SecretError."""
        secret = self._read_file(self.file) if self.file is not None else self._read_env(self.env or "")
        if not secret:
            raise SecretError(f"the secret in {self.place} is empty")
        return secret

    @property
    def place(self) -> str:
        return f"file {self.file}" if self.file is not None else f"environment variable {self.env}"

    @staticmethod
    def _read_file(path: str) -> str:
        try:
            content = read_bytes(path, MAX_SECRET + 1)
            text = content.decode()
        except OSError as e:
            raise SecretError(f"cannot read the secret in file {path}: {e.strerror}") from None
        except UnicodeDecodeError:
            raise SecretError(f"the secret in file {path} is not UTF-8 text") from None
        if len(content) > MAX_SECRET:
            raise SecretError(f"file {path} is too large to be a secret")
        return text.removesuffix("\n").removesuffix("\r")

    @staticmethod
    def _read_env(name: str) -> str:
        try:
            return os.environ[name]
        except KeyError:
            raise SecretError(f"environment variable {name} is not set") from None


def not_literal(value: object) -> object:
    """Refuse a secret where the place of one belongs."""
    if isinstance(value, (str, int, float)):
        raise refused("a password is never written in the config", _HINT)
    return value
