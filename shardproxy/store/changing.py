"""Changes a note that others may change at the same time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio

from shardproxy.store.interface import ConflictError, Notebook, StoreUnavailableError
from shardproxy.store.notes import NoteKey

TRIES = 10  # against others that change it at the same moment
NEWS_WITHIN = 1.0  # seconds; what somebody else wrote shows long before


async def note_change(notebook: Notebook, key: NoteKey, change: Callable[[Any], Any]) -> Any:
    """Make of a note's value another one, by compare-and-set; return it. `change` may be asked again.

    It is given None where there is no note. What stays as it is is not written. Raise StoreUnavailableError,
    ValueError, or what `change` raises.
    """
    for _ in range(TRIES):
        before, seen = notebook.notes.get(key), notebook.notes.version
        value = change(before.value if before is not None else None)
        if before is not None and value == before.value:
            return value
        try:
            await notebook.note(key, value, expected=before.revision if before is not None else 0)
        except ConflictError:
            if notebook.notes.get(key) == before:
                with trio.move_on_after(NEWS_WITHIN):
                    await notebook.notes.wait_changed(seen)
            continue
        return value
    raise StoreUnavailableError(f"{key.kind.value} of {key.cluster}: others change it all the time")
