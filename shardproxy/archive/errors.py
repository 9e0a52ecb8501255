"""What can be wrong with a backup or the place it is in. Each text says what to do."""

from __future__ import annotations


class ArchiveError(Exception):
    """A backup cannot be written, found or read."""


class PlaceError(ArchiveError):
    """The place does not answer, or refuses. What was asked for may have happened there."""


class PlaceFullError(PlaceError):
    """Nothing more fits there."""


class UnsureError(PlaceError):
    """A manifest may have been written, or may yet be: its files must stay."""


class NotThereError(ArchiveError):
    """There is no backup, or no file of one, by that name."""


class AlreadyThereError(ArchiveError):
    """There is one by that name, and nothing was written over it."""


class ManifestError(ArchiveError):
    """A manifest that is none, or of a later version, or was tampered with."""


class SealError(ArchiveError):
    """A file that this key does not open, or that is not what was sealed."""


class StoppedError(Exception):
    """Whoever waited for a transfer has left."""
