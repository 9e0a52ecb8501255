"""Shows the records of one cluster that something else decides about; the only one that writes them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from shardproxy.model.board import Board, News
from shardproxy.model.replication import ShardKey
from shardproxy.store.record import ShardRecord
from shardproxy.topology.sources.epochs import Epochs


class Showing:
    """Outlives the source, which begins anew with other settings: from `shown`, what it had found."""

    def __init__(self, cluster: str, records: Board[ShardKey, ShardRecord], epochs: Epochs) -> None:
        self._cluster = cluster
        self._records = records
        self._shown: dict[ShardKey, ShardRecord] = {}
        self.epochs = epochs

    @property
    def records(self) -> Mapping[ShardKey, ShardRecord]:
        """All that is on record, of other clusters too."""
        return self._records

    @property
    def shown(self) -> Mapping[ShardKey, ShardRecord]:
        """What was shown here, as opposed to what a controller may have left on record."""
        return self._shown

    def show(self, record: ShardRecord) -> ShardRecord:
        """Show a record, with a number of its own where proxies have to act on it."""
        before = self._shown.get(record.key)
        if before is None or before.served != record.served:
            number = self.epochs.next(record.epoch)
        else:
            number = before.changed
        shown = replace(record, changed=number, revision=number)
        if shown != before:
            self._shown[record.key] = shown
            self._records.show(record.key, shown)
        return shown

    async def wait_shown(self, key: ShardKey) -> None:
        """Wait for another record of a shard."""
        news = News()
        self._records.subscribe(news, key)
        try:
            await news.wait()
        finally:
            self._records.unsubscribe(news, key)

    def keep_only(self, keys: Collection[ShardKey]) -> None:
        """Hide all others of the cluster; the number of the whole does not fall by that."""
        gone = [key for key in self._records if key.cluster == self._cluster and key not in keys]
        for key in gone:
            self._records.hide(key)
            self._shown.pop(key, None)
        if gone and self._shown:
            key, record = max(self._shown.items(), key=lambda item: item[1].changed)
            number = self.epochs.next()
            self._shown[key] = replace(record, changed=number, revision=number)
            self._records.show(key, self._shown[key])

    def close(self) -> None:
        """Hide all that was shown: others decide from now on, or nobody."""
        for key in list(self._shown):
            self._records.hide(key)
        self._shown.clear()
