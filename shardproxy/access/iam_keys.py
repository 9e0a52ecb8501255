"""The file of access keys: whose they are, their secrets, and what each may connect to.

account: "123456789012"                      # default of principals that name none
keys:
  - access_key_id: AKIAIOSFODNN7EXAMPLE
    secret_access_key: {file: /run/secrets/app-key}          # or the secret itself
    principal: arn:aws:iam::123456789012:role/app
    policies:
      - effect: allow
        actions: [elasticache:Connect]
        resources:
          - arn:aws:elasticache:*:123456789012:replicationgroup:sessions
          - arn:aws:elasticache:*:123456789012:user:app
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from shardproxy.access.policies import Statement
from shardproxy.access.sigv4 import MAX_TOKEN
from shardproxy.config import ConfigError, Problem, Secret, SecretError
from shardproxy.config.base import Section, refused
from shardproxy.config.document import Document, read_document
from shardproxy.config.explain import PLACE, explain
from shardproxy.config.loading import read_text

MAX_KEYS = 10_000
MAX_PATTERNS = 100  # of one statement, in a policy of AWS' size
TEXT = "text"
START = "start with: keys: [{access_key_id: ..., secret_access_key: ..., principal: ..., policies: [...]}]"


@dataclass(frozen=True, slots=True)
class AccessKey:
    """One access key, secrets read."""

    access_key_id: str
    principal: str
    account: str  # nothing where it is not known: policies have to say `*`
    statements: tuple[Statement, ...]
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    expires: float | None = None  # of a session, in seconds since the epoch


@dataclass(frozen=True, slots=True)
class KeyStore:
    """Access keys by their ids."""

    keys: Mapping[str, AccessKey] = field(default_factory=dict)

    def find(self, access_key_id: str) -> AccessKey | None:
        return self.keys.get(access_key_id)


def nobody(name: str) -> None:
    """Nobody has to be told."""


def _form(value: object) -> str:
    return PLACE if isinstance(value, (Mapping, Secret)) else TEXT


def _as_instant(value: object) -> float:
    try:
        instant = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise refused("is not a time", "write it like 2026-11-23T06:18:37Z")
    return instant.timestamp()


# This is a file of secrets: one may stand in it, or elsewhere.
SecretText = Annotated[
    Annotated[Secret, Tag(PLACE)] | Annotated[str, Field(min_length=1, max_length=MAX_TOKEN), Tag(TEXT)],
    Discriminator(_form),
]
Instant = Annotated[float, PlainValidator(_as_instant), WithJsonSchema({"type": "string"})]
Patterns = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=2048)], ...],
    Field(min_length=1, max_length=MAX_PATTERNS),
]


class _Policy(Section):
    effect: Literal["allow", "deny"]
    actions: Patterns
    resources: Patterns

    @model_validator(mode="after")
    def _are_patterns(self) -> Self:
        for action in self.actions:
            if ":" not in action and action != "*":
                raise refused(f"action {action} names no service", "write elasticache:Connect")
        for resource in self.resources:
            if not resource.startswith(("arn:", "*")):
                raise refused(
                    f"resource {resource} is not an ARN",
                    "write arn:aws:elasticache:REGION:ACCOUNT:replicationgroup:NAME, and ...:user:NAME",
                )
        return self

    def statement(self) -> Statement:
        return Statement(self.effect == "allow", self.actions, self.resources)


class _Key(Section):
    access_key_id: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_]+$")]
    secret_access_key: SecretText
    session_token: SecretText | None = None
    expires: Instant | None = None
    principal: Annotated[str, Field(min_length=1, max_length=2048)]
    policies: Annotated[tuple[_Policy, ...], Field(max_length=100)]

    @model_validator(mode="after")
    def _sessions_end(self) -> Self:
        if self.expires is not None and self.session_token is None:
            raise refused("expires goes with a session_token", "take the key out to have it end")
        return self


class _File(Section):
    account: Annotated[str, Field(pattern=r"^\d{12}$")] | None = None
    keys: Annotated[tuple[_Key, ...], Field(max_length=MAX_KEYS)]


def keys_load(path: Path, read: Callable[[str], object] = nobody) -> KeyStore:
    """Read a key store and the secrets it points at; raise ConfigError with every problem in it.

    `read` is told of each file of a secret, before it is read.
    """
    return keys_parse(read_text(path), str(path), read)


def keys_parse(text: str, source: str, read: Callable[[str], object] = nobody) -> KeyStore:
    """Read the text of a key store; raise ConfigError, in which `source` names it."""
    document = read_document(text)
    problems = list(document.problems)
    file = None
    if isinstance(document.value, dict):
        try:
            file = _File.model_validate(document.value)
        except ValidationError as e:
            problems += explain(e, document, _File)
    elif not problems:
        problems.append(Problem(1, 1, "", "must be a mapping of keys to values at the top", START))
    if file is None or problems:
        raise ConfigError(source, problems)
    keys, faults = _read(file, document, read)
    if faults:
        raise ConfigError(source, faults)
    return KeyStore(keys)


def _read(
    file: _File, document: Document, read: Callable[[str], object]
) -> tuple[dict[str, AccessKey], list[Problem]]:
    keys, problems = {}, list(_repeated(file, document))
    for index, key in enumerate(file.keys):
        secrets: dict[str, str | None] = {}
        for name in ("secret_access_key", "session_token"):
            value: str | Secret | None = getattr(key, name)
            if isinstance(value, Secret) and value.file is not None:
                read(value.file)
            try:
                secrets[name] = value.read() if isinstance(value, Secret) else value
            except SecretError as error:
                problems.append(_problem(document, index, name, str(error)))
        if secret := secrets.get("secret_access_key"):
            keys[key.access_key_id] = AccessKey(
                key.access_key_id,
                key.principal,
                _account(key.principal) or file.account or "",
                tuple(policy.statement() for policy in key.policies),
                secret,
                secrets.get("session_token"),
                key.expires,
            )
    return keys, problems


def _repeated(file: _File, document: Document) -> Iterator[Problem]:
    counts = Counter(key.access_key_id for key in file.keys)
    for index, key in enumerate(file.keys):
        if counts[key.access_key_id] > 1:
            yield _problem(document, index, "access_key_id", "is given twice", "remove one of the two")


def _problem(document: Document, index: int, key: str, message: str, hint: str | None = None) -> Problem:
    place = document.place(("keys", index, key))
    return Problem(place.line, place.column, f"keys[{index}].{key}", message, hint)


def _account(principal: str) -> str:
    """The account in an ARN, arn:partition:service:region:account:resource."""
    parts = principal.split(":", 5)
    return parts[4] if len(parts) == 6 and parts[0] == "arn" else ""
