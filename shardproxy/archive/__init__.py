"""Where backups are kept, and what one is made of.

    PLACE/NAME/shard-0007-3fa9c1d2.rdb   one RDB per shard, the engine's own bytes, or encrypted
    PLACE/NAME/manifest.json             written last and only once: without it there is no backup

Knows no cluster that runs: what backs up, restores and copies stands on it.
"""

from shardproxy.archive.archive import Archive, Fetched, Progress
from shardproxy.archive.errors import (
    AlreadyThereError,
    ArchiveError,
    ManifestError,
    NotThereError,
    PlaceError,
    PlaceFullError,
    SealError,
    UnsureError,
)
from shardproxy.archive.manifest import Cut, Manifest, Origin, ShardFile
from shardproxy.archive.objects import S3Settings
from shardproxy.archive.places import open_place, places_same
from shardproxy.archive.sealing import Key

__all__ = [
    "AlreadyThereError",
    "Archive",
    "ArchiveError",
    "Cut",
    "Fetched",
    "Key",
    "Manifest",
    "ManifestError",
    "NotThereError",
    "Origin",
    "PlaceError",
    "PlaceFullError",
    "Progress",
    "S3Settings",
    "SealError",
    "ShardFile",
    "UnsureError",
    "open_place",
    "places_same",
]
