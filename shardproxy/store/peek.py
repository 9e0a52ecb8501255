"""What a state file has on record, for those who only look: without its lock, and never changing it."""

from __future__ import annotations

import json
from pathlib import Path

from shardproxy.model.replication import ShardKey
from shardproxy.store.codec import record_decode
from shardproxy.store.record import ShardRecord


def records_read(path: Path) -> dict[ShardKey, ShardRecord]:
    """Read the records; raise OSError, or ValueError when it is no state file."""
    try:
        shards = json.loads(path.read_bytes())["shards"]
        records = [record_decode(shard, int(shard["revision"])) for shard in shards]
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a state file: {error!r}") from error
    return {record.key: record for record in records}
