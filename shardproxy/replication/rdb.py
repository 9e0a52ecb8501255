"""RDB files, read as a stream: what they hold, counted and checked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import trio

from shardproxy.dataplane import _native
from shardproxy.replication.interface import RdbSummary, Slots
from shardproxy.replication.spec import owned_spec


class RdbError(Exception):
    """A file that cannot be used as an RDB; the text begins with its name and says why."""


async def rdb_read(path: Path, *, owned: Slots = (), families: Sequence[tuple[str, str]] = ()) -> RdbSummary:
    """Read a whole RDB file in a thread, a window of it in memory; keys of slots but `owned` are strays.

    Raise RdbError when it is none, damaged, cut, or has types that are not known here: nothing of it is to be
    restored then. Takes about a second for each 500 MB.
    """
    try:
        reading = _native.RdbReading(path, owned_spec(owned, families))
    except ValueError as error:
        raise RdbError(str(error)) from error
    try:
        found = await trio.to_thread.run_sync(reading.run, abandon_on_cancel=True)
    except (OSError, ValueError) as error:
        why = error.args[-1] if isinstance(error, OSError) else error
        raise RdbError(f"{path}: {why}") from error
    finally:
        reading.stop()
    return summary_of(json.loads(found))


def summary_of(found: dict[str, Any]) -> RdbSummary:
    """What the crate tells of an RDB."""
    return RdbSummary(
        bytes=found["bytes"],
        sha256=found["sha256"],
        keys=found["keys"],
        keys_per_slot={int(slot): keys for slot, keys in found["keys_per_slot"].items()},
        strays=found["strays"],
        expires=found["expires"],
        functions=found["functions"],
        functions_sha256=found["functions_sha256"],
        databases=tuple(found["databases"]),
        types=found["types"],
        engine=found["engine"],
        replid=found["replid"],
        offset=found["offset"] if found["offset"] is not None else -1,
        version=found["version"],
        is_checked=found["is_checked"],
        modules=tuple(found["modules"]),
        longest=found["longest"],
    )
