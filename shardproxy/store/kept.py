"""A value kept beside the state file, whole or not at all. Knows nothing of what it means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import trio

from shardproxy.store.interface import StoreUnavailableError
from shardproxy.store.local import StateFileError
from shardproxy.store.replace import file_replace

MAX_FILE = 64 << 20  # bytes; a thousand users of a hundred clusters are less
FORMAT = 1


class KeptFile:
    """A JSON value in a file that others may not read; its directory is the state file's, and locked."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Any:
        """The value, None where none was kept; raise StateFileError."""
        try:
            with self._path.open("rb") as file:
                data = file.read(MAX_FILE + 1)
            if len(data) > MAX_FILE:
                raise ValueError(f"has more than {MAX_FILE} bytes")
            kept = json.loads(data)
            if kept["format"] != FORMAT:
                raise ValueError(f"format {kept['format']}, and this version reads {FORMAT}")
            return kept["kept"]
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateFileError(f"{self._path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise self.damaged(error) from error

    def damaged(self, why: Exception) -> StateFileError:
        """What to say of a value that cannot be understood."""
        return StateFileError(f"{self._path} is damaged ({why}): restore it, or move it away and do without")

    async def write(self, value: Any) -> None:
        """Keep another value; it is durable when this returns. Raise StoreUnavailableError."""
        data = json.dumps({"format": FORMAT, "kept": value}, indent=1).encode() + b"\n"
        try:
            await trio.to_thread.run_sync(file_replace, self._path, data)
        except OSError as error:
            raise StoreUnavailableError(f"{self._path}: {error.strerror or error}") from error
