"""Which place is meant."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from shardproxy.archive.directory import DirectoryPlace
from shardproxy.archive.errors import PlaceError
from shardproxy.archive.objects import ObjectPlace, S3Settings
from shardproxy.archive.place import Place

_S3 = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>[^?#]*))?", re.ASCII)


def why_not_a_place(text: str) -> str | None:
    """Why that is no place for backups, or None."""
    if "://" not in text:
        return (
            None if text.startswith("/") else f"{text!r} is no absolute path: write /var/backups or s3://..."
        )
    if not text.startswith("s3://"):
        return f"{text!r} is neither a directory nor s3://BUCKET/PREFIX"
    match = _S3.fullmatch(text)
    if match is None or ".." in (match["prefix"] or "").split("/"):
        return f"{text!r} is not s3://BUCKET or s3://BUCKET/PREFIX"
    return None


def place_normalised(text: str) -> str:
    """The same place without what makes no difference, as its `url` is. Links are not followed."""
    if (match := _S3.fullmatch(text)) is not None:
        prefix = (match["prefix"] or "").strip("/")
        return f"s3://{match['bucket']}" + (f"/{prefix}" if prefix else "")
    if text.startswith("/"):
        return "/" + str(PurePosixPath(text)).lstrip("/")
    return text


def places_same(one: str, other: str) -> bool:
    """Whether two people mean one place, as far as names tell."""
    return place_normalised(one) == place_normalised(other)


def open_place(text: str, settings: S3Settings | None = None) -> Place:
    """The place of that name; nothing is asked of it yet. Raise PlaceError where it is none."""
    if (why := why_not_a_place(text)) is not None:
        raise PlaceError(why)
    if (match := _S3.fullmatch(text)) is not None:
        return ObjectPlace(match["bucket"], match["prefix"] or "", settings or S3Settings())
    return DirectoryPlace(Path(text))
