"""What is hot and what is large, as plain JSON values. Knows nothing of HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shardproxy.dataplane.hot import BigKey, Hot, HotKey
from shardproxy.model.text import shown

CUT = "\N{HORIZONTAL ELLIPSIS}"  # behind a key of which only the beginning is known


def hot_document(hot: Hot, by: str, limit: int) -> dict[str, Any]:
    """Keys, slots and families that much is asked of, the most first."""
    keys = hot.by_bytes if by == "bytes" else hot.by_requests
    return {
        "seconds": round(hot.seconds, 3),
        "sample": hot.sample,
        "sampled": hot.sampled,
        "keys": [_key(key) for key in keys[:limit]],
        "slots": [
            {
                "slot": slot.slot,
                "shard": slot.shard,
                "requests_per_second": round(slot.requests_per_second, 1),
                "share": round(slot.share, 4),
            }
            for slot in hot.slots[:limit]
        ],
        "families": [
            {
                "family": family.family,
                "requests_per_second": round(family.requests_per_second, 1),
                "bytes_per_second": round(family.bytes_per_second, 1),
                "share": round(family.share, 4),
                "reads": round(family.reads, 4),
                "shards": {str(shard): round(share, 4) for shard, share in family.shards.items()},
            }
            for family in hot.families[:limit]
        ],
    }


def big_document(keys: Sequence[BigKey], limit: int) -> dict[str, Any]:
    """Keys that large requests and replies were about, the largest first."""
    return {
        "keys": [
            {
                "key": _shown(key),
                "slot": key.slot,
                "shard": key.shard,
                "command": key.command,
                "request_bytes": key.request_bytes,
                "reply_bytes": key.reply_bytes,
                "at": round(key.at, 3),
            }
            for key in keys[:limit]
        ]
    }


def _key(key: HotKey) -> dict[str, Any]:
    return {
        "key": _shown(key),
        "slot": key.slot,
        "shard": key.shard,
        "requests_per_second": round(key.requests_per_second, 1),
        "bytes_per_second": round(key.bytes_per_second, 1),
        "share": round(key.share, 4),
        "reads": round(key.reads, 4),
    }


def _shown(key: HotKey | BigKey) -> str:
    return shown(key.key) + (CUT if key.is_cut else "")
