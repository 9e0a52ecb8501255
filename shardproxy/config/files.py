"""Which files settings were read from, each as it was just before. Whoever reads one says so here first."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TypeAlias

Fingerprint: TypeAlias = tuple[int, int, int, int, int] | None  # None: it cannot be looked at


def fingerprint(path: Path) -> Fingerprint:
    """What differs when a file was changed or replaced, or what its symbolic links lead to.

    When it was written may be set to what it was before (`cp -p`, `rsync -t`); when that was done may not.
    """
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def why_exposed(path: Path) -> str | None:
    """Why a file of secrets should have another mode, or None."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return None  # that it cannot be read is said when it is
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        what = "read" if mode & stat.S_IROTH else "written"
        return f"{path} can be {what} by everybody on this machine: chmod o-rwx {path}"
    return None


class FilesRead:
    """The files of one reading of the settings; names that are relative are found from `directory`."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory or Path()
        self.seen: dict[Path, Fingerprint] = {}

    def note(self, name: str | Path) -> Path:
        """Remember how a file is now, before it is read; return where it is."""
        path = self._directory / name
        self.seen.setdefault(path, fingerprint(path))
        return path
