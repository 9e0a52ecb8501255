"""What was asked for, as it stands in a job's note. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from shardproxy.archive.places import why_not_a_place
from shardproxy.importing.errors import ForeignError
from shardproxy.importing.url import Foreign
from shardproxy.jobs.allowed import Allowed
from shardproxy.jobs.interface import JobError
from shardproxy.jobs.wanted import known_only, rate_wanted

RESTORE = ("from", "name", "rdb", "replace", "match", "functions", "key_file", "unencrypted")
IMPORT = ("url", "follow", "replace", "match", "rate", "functions")
MAX_FILES = 500  # a cluster has 250 shards at most


@dataclass(frozen=True, slots=True)
class RestoreWants:
    """A backup of a place, or RDB files of anybody's."""

    place: str = ""  # a directory of the machine that leads, or s3://
    name: str = ""  # of the backup there
    files: tuple[str, ...] = ()  # or these, on that machine
    replaces: bool = False  # keys that are there
    match: str | None = None  # only keys that match this glob
    functions: bool = True
    unencrypted: bool = False  # whatever key the cluster's own backups have
    key_file: str | None = None  # what the backup is encrypted with, on that machine

    @classmethod
    def read(cls, wants: Mapping[str, Any]) -> Self:
        """Raise JobError."""
        known_only("restore", wants, RESTORE)
        files = wants.get("rdb", [])
        if not isinstance(files, list) or not all(_is_path(file) for file in files):
            raise JobError("rdb: send a list of paths")
        found = cls(
            place=_text(wants, "from"),
            name=_text(wants, "name"),
            files=tuple(files),
            replaces=_flag(wants, "replace"),
            match=_text(wants, "match") or None,
            functions=_flag(wants, "functions", default=True),
            key_file=_text(wants, "key_file") or None,
            unencrypted=_flag(wants, "unencrypted"),
        )
        if bool(found.files) == bool(found.place):
            raise JobError("restore what? a NAME --from DIR or s3://.., or files with --rdb")
        if found.place and not found.name:
            raise JobError(f"which backup of {found.place}? shardproxy backup list shows them")
        if found.place and (why := why_not_a_place(found.place)) is not None:
            raise JobError(why)
        if found.key_file is not None and found.unencrypted:
            raise JobError("a key_file for a backup that is unencrypted: send one of them")
        if len(found.files) > MAX_FILES:
            raise JobError(f"at most {MAX_FILES} files at once")
        paths = [*found.files, *([found.key_file] if found.key_file else [])]
        if (path := next((path for path in paths if not path.startswith("/")), None)) is not None:
            raise JobError(f"{path!r} is no absolute path: it is one of the machine whose proxy leads")
        return found

    def check(self, allowed: Allowed) -> Self:
        """The same; raise JobError where it names what jobs may not use."""
        if self.place:
            allowed.check_place(self.place)
        if self.key_file is not None:
            allowed.check_file(self.key_file)
        for file in self.files:
            allowed.check_data(file)
        return self

    def json(self) -> dict[str, Any]:
        """As it is kept."""
        return {
            "from": self.place,
            "name": self.name,
            "rdb": list(self.files),
            "replace": self.replaces,
            "match": self.match or "",
            "functions": self.functions,
            "key_file": self.key_file or "",
            "unencrypted": self.unencrypted,
        }


@dataclass(frozen=True, slots=True)
class ImportWants:
    """Somebody else's keys, and for how long they are followed."""

    foreign: Foreign
    url: str  # as it was asked for
    follows: bool = False
    replaces: bool = False  # what the cluster has
    match: str | None = None
    rate: int = 0  # bytes a second of the first copy; 0 = as fast as the source's latency allows
    functions: bool = True

    @classmethod
    def read(cls, wants: Mapping[str, Any]) -> Self:
        """Raise JobError."""
        known_only("import", wants, IMPORT)
        url = _text(wants, "url")
        try:
            foreign = Foreign.parse(url)
        except ForeignError as error:
            raise JobError(str(error)) from None
        if foreign.is_secret:
            raise JobError(
                f"{foreign}: what is asked for is kept, and shown to all: write the password into a file on"
                " the proxies' machines and add ?password_file=/path/of/it"
            )
        return cls(
            foreign,
            url,
            follows=_flag(wants, "follow"),
            replaces=_flag(wants, "replace"),
            match=_text(wants, "match") or None,
            rate=rate_wanted(wants),
            functions=_flag(wants, "functions", default=True),
        )

    def check(self, allowed: Allowed) -> Self:
        """The same; raise JobError where it names what jobs may not use."""
        for file in self.foreign.files:
            allowed.check_file(file)
        return self

    def json(self) -> dict[str, Any]:
        """As it is kept."""
        return {
            "url": self.url,
            "follow": self.follows,
            "replace": self.replaces,
            "match": self.match or "",
            "rate": self.rate,
            "functions": self.functions,
        }


def _text(wants: Mapping[str, Any], name: str) -> str:
    value = wants.get(name) or ""
    if not isinstance(value, str) or "\0" in value:
        raise JobError(f"{name}: send a text")
    return value


def _is_path(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value


def _flag(wants: Mapping[str, Any], name: str, *, default: bool = False) -> bool:
    value = wants.get(name, default)
    if not isinstance(value, bool):
        raise JobError(f"{name}: send true or false")
    return value
