"""Puts together who restores and imports: how a cluster's engines, backups and threads are reached."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from shardproxy.archive import Archive
from shardproxy.backup.settings import archive_open, spool_of
from shardproxy.config import Backups, RedisCluster
from shardproxy.importing.follow import ImportWorker
from shardproxy.importing.means import Families, Means
from shardproxy.importing.restore import RestoreWorker
from shardproxy.jobs.allowed import is_below
from shardproxy.jobs.interface import Worker
from shardproxy.replication.copier import EngineCopier
from shardproxy.replication.interface import CopyError, RdbSummary
from shardproxy.replication.loader import EngineLoader
from shardproxy.replication.rdb import RdbError, rdb_read

if TYPE_CHECKING:
    from shardproxy.app.moving import Tools


def importing_workers(tools: Tools) -> Iterable[Worker]:
    """Those of the kinds `restore` and `import`."""

    def backups_of(cluster: str) -> Backups | None:
        config = tools.settings_of(cluster).config
        return config.backups if isinstance(config, RedisCluster) else None

    def families_of(cluster: str) -> Families:
        config = tools.settings_of(cluster).config
        rules = config.families if isinstance(config, RedisCluster) else ()
        return tuple((rule.match, rule.hash) for rule in rules)

    async def archive(
        cluster: str, place: str, key_file: str | None, *, unencrypted: bool = False
    ) -> Archive:
        own = backups_of(cluster)
        return await archive_open(backups_at(own, place, key_file, unencrypted=unencrypted), place)

    means = Means(
        end_of=tools.end_of,
        links_of=tools.links_of,
        families_of=families_of,
        archive=archive,
        start_loader=EngineLoader,
        start_copier=lambda plan: EngineCopier.start(plan, table=tools.table()),
        rdb_read=_rdb_read,
        allowed_of=tools.allowed_of,
        spool=lambda cluster: spool_of(backups_of(cluster)),
    )
    return RestoreWorker(means), ImportWorker(means)


async def _rdb_read(path: Path, families: Families) -> RdbSummary:
    try:
        return await rdb_read(path, families=families)
    except RdbError as error:
        raise CopyError(str(error).removeprefix(f"{path}: ")) from error


def backups_at(own: Backups | None, place: str, key_file: str | None, *, unencrypted: bool) -> Backups:
    """How the backups of a place are reached: as the cluster's own, whose key opens no others. Pure."""
    if key_file is None and not unencrypted and own is not None and is_below(place, own.to):
        key_file = own.key_file
    return (own or Backups.model_construct(to=place)).model_copy(update={"key_file": key_file})
