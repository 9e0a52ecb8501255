"""What of this machine a job may touch. Who may ask for jobs over HTTP may not read every file of it.

asked: /var/backups/a ── below a directory that the config names? ── and where links lead, too? ── yes
                                  └ no: refused, and nothing was looked at
"""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Iterable
from dataclasses import dataclass

from shardproxy.jobs.interface import JobError

S3 = "s3://"


@dataclass(frozen=True, slots=True)
class Allowed:
    """As the config has it now. Files that are looked at are only below what is named here."""

    places: tuple[str, ...] = ()  # directories and s3:// prefixes, the cluster's own among them
    secrets: tuple[str, ...] = ()  # directories
    files: tuple[str, ...] = ()  # that the config itself names for the cluster

    def check_place(self, place: str) -> None:
        """Raise JobError where backups may be neither written nor read."""
        if not any(is_within(place, named) for named in self.places):
            raise JobError(_refusal(place, "places", place))

    def check_file(self, path: str) -> None:
        """Raise JobError for a file that jobs may not read: a password, key or certificate."""
        if path not in self.files:
            self._check(path, self.secrets)

    def check_data(self, path: str) -> None:
        """The same of a file with keys of engines, which may lie where backups do."""
        self._check(path, (*self.secrets, *(place for place in self.places if "://" not in place)))

    def _check(self, path: str, named: Iterable[str]) -> None:
        if not any(is_within(path, one) for one in named):
            raise JobError(_refusal(path, "secrets", posixpath.dirname(path) or "/"))


def is_within(place: str, named: str) -> bool:
    """Whether a place is another one, or below it. Links count as what they lead to."""
    if not is_below(place, named):
        return False
    return place.startswith(S3) or is_below(os.path.realpath(place), os.path.realpath(named))


def is_below(place: str, named: str) -> bool:
    """The same of the texts alone, however they are written. Pure."""
    parts, above = place_parts(place), place_parts(named)
    return parts is not None and above is not None and parts[: len(above)] == above


def place_parts(place: str) -> tuple[str, ...] | None:
    """Its parts, so that one way to write a place is like another; None for what is none. Pure."""
    if place.startswith(S3):
        words = [word for word in place.removeprefix(S3).split("/") if word]
        return None if not words or ".." in words else (S3, *words)
    if "\0" in place or not place.startswith("/"):
        return None
    return ("/", *(word for word in posixpath.normpath(place).split("/") if word))


def _refusal(what: str, name: str, line: str) -> str:
    value = json.dumps(line, ensure_ascii=False)
    return (
        f"{what} is nothing that jobs may use: where it is meant to be, write"
        f" `jobs: {{{name}: [{value}]}}` into the config of every proxy that may lead, and reload it"
    )
