"""Backups in a bucket of S3, or of what speaks its protocol."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from shardproxy.archive.errors import AlreadyThereError, NotThereError, PlaceError, PlaceFullError
from shardproxy.archive.place import Stored
from shardproxy.archive.pump import Pump

if TYPE_CHECKING:
    from obstore.store import S3Config, S3Store

PART = 8 << 20  # bytes of a part of an upload, at least
MAX_PARTS = 9000  # of one upload; S3 takes 10,000
CONCURRENT_PARTS = 4  # so many are under way, and in memory
DELETED_AT_ONCE = 1000  # what one request to S3 may name

CONNECT_TIMEOUT = timedelta(seconds=5)
REQUEST_TIMEOUT = timedelta(seconds=60)  # of one part, too
RETRY_TIMEOUT = timedelta(seconds=30)  # in all; whoever called tries again, or says that it failed


@dataclass(frozen=True, slots=True)
class S3Settings:
    """How a bucket is reached; the rest is told by the environment (AWS_...) or the machine's role."""

    endpoint: str | None = None  # a URL, for what is not AWS
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    retry: timedelta = RETRY_TIMEOUT


class ObjectPlace:
    """One prefix of a bucket. Large objects go up in parts; uploads that fail are taken back."""

    def __init__(self, bucket: str, prefix: str, settings: S3Settings) -> None:
        self._bucket, self._prefix = bucket, prefix.strip("/")
        self._settings = settings
        self._opened: S3Store | None = None

    @property
    def url(self) -> str:
        return f"s3://{self._bucket}" + (f"/{self._prefix}" if self._prefix else "")

    def folders(self) -> list[str]:
        import obstore

        with self._failing("list"):
            found = obstore.list_with_delimiter(self._store, self._prefix or None)
        return sorted(prefix.rstrip("/").rpartition("/")[2] for prefix in found["common_prefixes"])

    def listed(self, folder: str) -> list[Stored]:
        import obstore

        with self._failing(f"list {folder} in"):
            found = [one for batch in obstore.list(self._store, self._path(folder)) for one in batch]
        beyond = len(self._prefix) + 1 if self._prefix else 0
        return sorted(
            (Stored(one["path"][beyond:], one["size"], one["last_modified"].timestamp()) for one in found),
            key=lambda one: one.name,
        )

    def read(self, name: str, *, at_most: int) -> bytes:
        import obstore

        with self._failing(f"read {name} in"):
            answer = obstore.get(self._store, self._path(name))
            if answer.meta["size"] > at_most:
                raise PlaceError(f"{name} in {self.url} has more than {at_most} bytes: it is not ours")
            return bytes(answer.bytes())

    def chunks(self, name: str) -> Iterator[bytes]:
        import obstore

        with self._failing(f"read {name} in"):
            for chunk in obstore.get(self._store, self._path(name)).stream(min_chunk_size=1 << 20):
                yield bytes(chunk)

    def create(self, name: str, content: bytes) -> None:
        import obstore

        with self._failing(f"write {name} to"):
            obstore.put(self._store, self._path(name), content, mode="create", use_multipart=False)

    def write(self, name: str, chunks: Iterable[bytes], *, size: int) -> None:
        import obstore

        with self._failing(f"write {name} to"), Pump(chunks) as pump:
            try:
                obstore.put(
                    self._store,
                    self._path(name),
                    pump,
                    use_multipart=True,
                    chunk_size=max(PART, -(-size // MAX_PARTS)),
                    max_concurrency=CONCURRENT_PARTS,
                )
            except Exception:
                if pump.error is not None:  # obstore tells of it in words alone
                    raise pump.error from None
                raise

    def delete(self, names: Sequence[str]) -> None:
        import obstore

        with self._failing("delete in"):
            for first in range(0, len(names), DELETED_AT_ONCE):
                batch = names[first : first + DELETED_AT_ONCE]
                try:
                    obstore.delete(self._store, [self._path(name) for name in batch])
                except FileNotFoundError:
                    continue

    def path_of(self, name: str) -> Path | None:
        return None

    def _path(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    @property
    def _store(self) -> S3Store:
        if self._opened is None:
            with self._failing("open"):
                self._opened = self._open()
        return self._opened

    def _open(self) -> S3Store:
        from obstore.store import S3Store

        settings = self._settings
        given: S3Config = {}
        endpoint = settings.endpoint or os.environ.get("AWS_ENDPOINT_URL")
        if endpoint is not None:
            given["endpoint"] = endpoint
        if settings.region is not None:
            given["region"] = settings.region
        if settings.access_key_id is not None:
            given["access_key_id"] = settings.access_key_id
        if settings.secret_access_key is not None:
            given["secret_access_key"] = settings.secret_access_key
        return S3Store(
            self._bucket,
            config=given,
            client_options={
                "allow_http": (endpoint or "").startswith("http://"),
                "connect_timeout": CONNECT_TIMEOUT,
                "timeout": REQUEST_TIMEOUT,
            },
            retry_config={"retry_timeout": settings.retry, "max_retries": 10},
        )

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        from obstore.exceptions import (
            AlreadyExistsError,
            BaseError,
            PermissionDeniedError,
            PreconditionError,
            UnauthenticatedError,
        )

        try:
            yield
        except FileNotFoundError as e:
            raise NotThereError(f"cannot {what} {self.url}: it is not there") from e
        except (AlreadyExistsError, PreconditionError) as e:
            raise AlreadyThereError(f"cannot {what} {self.url}: there is one: take another name") from e
        except (PermissionDeniedError, UnauthenticatedError) as e:
            raise PlaceError(
                f"cannot {what} {self.url}: refused; see the key, its rights and its clock: {_short(e)}"
            ) from e
        except BaseError as e:
            full = any(word in str(e) for word in ("QuotaExceeded", "StorageFull", "no space left"))
            raise (PlaceFullError if full else PlaceError)(f"cannot {what} {self.url}: {_short(e)}") from e


def _short(error: Exception) -> str:
    """The first line of it: the rest is how obstore is built."""
    return str(error).strip().partition("\n")[0][:300]
