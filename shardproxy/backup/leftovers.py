"""Files that belong to no backup: of one that died half-way with its process. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from shardproxy.archive.manifest import Manifest
from shardproxy.archive.names import is_file_name
from shardproxy.archive.place import Stored

OLD = 2 * 86400.0  # seconds after which nobody is still writing them


def files_left(stored: Iterable[Stored], manifest: Manifest | None, now: float) -> list[str]:
    """Names, without their folder, of what can be taken away; only what is named as we name files."""
    kept = {one.file for one in manifest.files} if manifest is not None else set()
    names = ((one.name.rpartition("/")[2], one.modified) for one in stored)
    return [
        name for name, modified in names if name not in kept and now - modified > OLD and is_file_name(name)
    ]
