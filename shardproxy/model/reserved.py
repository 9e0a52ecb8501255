"""Keys of the proxy's own beside those of applications: clients are not shown them."""

from __future__ import annotations

from collections.abc import Iterable

RESERVED = b"shardproxy:"  # what their names begin with; the data plane has the same


def without_reserved(keys: Iterable[bytes]) -> list[bytes]:
    """Those of these keys that are the application's."""
    return [key for key in keys if not key.startswith(RESERVED)]
