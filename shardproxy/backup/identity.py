"""Which cluster it is, whatever it is called: two of one name may keep their backups in one place."""

from __future__ import annotations

from secrets import token_hex
from typing import Any

from shardproxy.store.changing import note_change
from shardproxy.store.interface import Notebook
from shardproxy.store.notes import NoteKey, NoteKind


async def cluster_identity(notebook: Notebook, cluster: str) -> str:
    """What tells it from any other, for as long as its store is kept; raise StoreUnavailableError."""

    def named(value: Any) -> Any:
        return value if isinstance(value, str) and value else token_hex(8)

    return str(await note_change(notebook, NoteKey(cluster, NoteKind.IDENTITY), named))
