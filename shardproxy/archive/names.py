"""What backups may be called. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime

AUTOMATIC = "automatic."  # what names of scheduled ones begin with, as ElastiCache's do
MAX_NAME = 255

_NAME = re.compile(r"[A-Za-z](?:-?[A-Za-z0-9])*", re.ASCII)  # as ElastiCache wants them
_AUTOMATIC = re.compile(r"automatic\.(?P<cluster>.+)-(?P<at>\d{4}-\d\d-\d\d-\d\d-\d\d)", re.ASCII)
_FILE = re.compile(r"shard-\d{4,10}-[0-9a-f]{8}\.rdb", re.ASCII)
PARTIAL = ".part-"  # what names of files in a directory begin with that are being written


def file_name(number: int, backup_id: str) -> str:
    """What a shard's RDB is called: as no other backup's file, so that nobody writes over another's."""
    return f"shard-{number:04}-{backup_id[:8]}.rdb"


def is_whole_file_name(name: str) -> bool:
    """Whether a file is called as ours are that are whole."""
    return _FILE.fullmatch(name) is not None


def is_file_name(name: str) -> bool:
    """Whether a file is called as ours are, or was to be."""
    partial = re.escape(PARTIAL) + r"[0-9a-f]{8}-"
    return is_whole_file_name(re.sub(f"^{partial}", "", name))


def why_not_a_name(name: str) -> str | None:
    """Why somebody may not call a backup that, or None."""
    if len(name) > MAX_NAME:
        return f"a backup's name has at most {MAX_NAME} characters"
    if name.startswith(AUTOMATIC):
        return f"names that begin with {AUTOMATIC} are those of scheduled backups"
    if _NAME.fullmatch(name) is None:
        return (
            f"{name!r} is no name for a backup: it begins with a letter, has letters, digits and single"
            " hyphens, and does not end with a hyphen"
        )
    return None


def automatic_name(cluster: str, at: float) -> str:
    """What a scheduled backup is called that was due then, seconds since 1970: to the minute, in UTC."""
    return f"{AUTOMATIC}{cluster}-{datetime.fromtimestamp(at, UTC):%Y-%m-%d-%H-%M}"


def automatic_time(cluster: str, name: str) -> float | None:
    """When the scheduled backup of that name was due, seconds since 1970; None where it is none of it."""
    match = _AUTOMATIC.fullmatch(name)
    if match is None or match["cluster"] != cluster:
        return None
    try:
        return datetime.strptime(match["at"], "%Y-%m-%d-%H-%M").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
