"""A place as it is configured, its secrets read."""

from __future__ import annotations

import tempfile
from pathlib import Path

import trio

from shardproxy.archive import Archive, ArchiveError, Key, PlaceError, S3Settings, open_place
from shardproxy.archive.place import Place
from shardproxy.config import Backups, Secret, SecretError


async def archive_open(backups: Backups | None, to: str | None = None) -> Archive:
    """The archive that backups of a cluster go to, there or elsewhere; raise ArchiveError."""
    return await trio.to_thread.run_sync(_open, backups, to)


async def place_open(backups: Backups | None, to: str) -> Place:
    """A place, reached as it is configured; raise ArchiveError."""
    return await trio.to_thread.run_sync(lambda: open_place(to, _s3(backups)))


def spool_of(backups: Backups | None) -> Path:
    """Where what is on its way lies meanwhile."""
    return Path(backups.spool if backups is not None and backups.spool else tempfile.gettempdir())


def _open(backups: Backups | None, to: str | None) -> Archive:
    place = to or (backups.to if backups is not None else None)
    if place is None:
        raise PlaceError(
            "nothing says where backups go: give --to, or write backups: {to: ...} in the config"
        )
    key = Key.read(Path(backups.key_file)) if backups is not None and backups.key_file else None
    return Archive(open_place(place, _s3(backups)), key)


def _s3(backups: Backups | None) -> S3Settings:
    given = backups.s3 if backups is not None else None
    if given is None:
        return S3Settings()
    return S3Settings(
        endpoint=given.endpoint,
        region=given.region,
        access_key_id=given.access_key_id,
        secret_access_key=_secret(given.secret_access_key),
    )


def _secret(secret: Secret | None) -> str | None:
    if secret is None:
        return None
    try:
        return secret.read()
    except SecretError as e:
        raise ArchiveError(f"backups: s3: {e}") from None
