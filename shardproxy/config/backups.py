"""Backups of a cluster: where they are kept, when they are made, how long, and with which key."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    Field,
    WithJsonSchema,
    model_validator,
)

from shardproxy.config.base import Section, refused
from shardproxy.config.iam import AccessKeyId, SecretPlace
from shardproxy.config.store import Endpoint

DAY = 1440  # minutes
MIN_WINDOW = 60  # minutes, as in ElastiCache
MAX_RETENTION = 35  # days, as in ElastiCache

_S3 = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:/[^?#]*)?", re.ASCII)
_WINDOW = re.compile(r"([01]\d|2[0-3]):([0-5]\d)\s*-\s*([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
_WINDOW_HINT = "write it like 03:00-04:00; times are in UTC"


@dataclass(frozen=True, slots=True)
class Window:
    """A part of every day: minutes at which it begins and ends, the end perhaps after midnight."""

    begins: int
    ends: int

    @property
    def length(self) -> int:
        """Minutes."""
        return (self.ends - self.begins) % DAY

    def __str__(self) -> str:
        return f"{self.begins // 60:02}:{self.begins % 60:02}-{self.ends // 60:02}:{self.ends % 60:02}"


def _window(text: str) -> str:
    match = _WINDOW.fullmatch(text.strip())
    if match is None:
        raise refused("is not a time of day from and to", _WINDOW_HINT)
    window = _parsed(match)
    if window.length < MIN_WINDOW:
        raise refused(f"is shorter than {MIN_WINDOW} minutes", _WINDOW_HINT)
    return str(window)


def _parsed(match: re.Match[str]) -> Window:
    first, first_minute, last, last_minute = map(int, match.groups())
    return Window(first * 60 + first_minute, last * 60 + last_minute)


def _place(text: str) -> str:
    if "://" in text:
        if _S3.fullmatch(text) is None or ".." in text.split("/"):
            raise refused("is neither a directory nor a bucket", "write /var/backups or s3://BUCKET/PREFIX")
    elif not text.startswith("/"):
        raise refused("is no absolute path", "write /var/backups or s3://BUCKET/PREFIX")
    return text


Place = Annotated[
    str,
    Field(min_length=1, max_length=2000, examples=["/var/backups/shardproxy", "s3://backups/sessions"]),
    AfterValidator(_place),
]
AbsolutePath = Annotated[str, Field(pattern=r"^/", max_length=4000)]
DailyWindow = Annotated[
    str,
    AfterValidator(_window),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^([01]\d|2[0-3]):[0-5]\d\s*-\s*([01]\d|2[0-3]):[0-5]\d$",
            "examples": ["03:00-04:00"],
        }
    ),
]


class S3(Section):
    """How a bucket is reached. The rest is told by the environment (AWS_...) or the machine's role."""

    endpoint: Endpoint | None = None
    """URL of what speaks the protocol of S3 and is not AWS."""
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$", examples=["eu-central-1"])] | None = None
    """Where the bucket is."""
    access_key_id: AccessKeyId | None = None
    """The access key."""
    secret_access_key: SecretPlace | None = None
    """Where its secret is kept: {file: ...} or {env: ...}."""

    @model_validator(mode="after")
    def _key_is_whole(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            given = "access_key_id" if self.secret_access_key is None else "secret_access_key"
            other = "secret_access_key" if self.secret_access_key is None else "access_key_id"
            raise refused(f"{given} needs its {other}", f"add {other}")
        return self


class Backups(Section):
    """Backups of a cluster. The proxy that decides about it makes them, and needs what is named here."""

    to: Place
    """Where they are kept: a directory, or s3://BUCKET/PREFIX."""
    retention: Annotated[int, Field(ge=0, le=MAX_RETENTION)] = 0
    """Days for which scheduled ones are kept; 0: none are made. Others are kept until they are deleted."""
    window: DailyWindow = "03:00-04:00"
    """When the daily one is made, in UTC."""
    key_file: Annotated[AbsolutePath, Field(examples=["/etc/shardproxy/backup.key"])] | None = None
    """A file with 32 bytes in base64 or hexadecimal, with which files are encrypted before they leave this
    machine. Without it nobody can read them again."""
    spool: Annotated[AbsolutePath, Field(examples=["/var/tmp"])] | None = None
    """A directory for what is on its way to a bucket or being encrypted: as large as the data of all shards.
    Default: the system's own for temporary files."""
    s3: S3 | None = None
    """How a bucket is reached."""

    @property
    def daily(self) -> Window:
        """When the daily one is made."""
        match = _WINDOW.fullmatch(self.window)
        assert match is not None, "it was checked"
        return _parsed(match)

    @model_validator(mode="after")
    def _s3_is_used(self) -> Self:
        if self.s3 is not None and not self.to.startswith("s3://"):
            raise refused("s3 has no use where backups go to a directory", "leave out s3")
        return self
