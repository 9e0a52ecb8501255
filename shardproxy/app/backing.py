"""Puts together what makes backups: the worker, and the leader's service that asks for the daily one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from shardproxy.backup.create import BackupWorker
from shardproxy.backup.daily import DailyTools, run_daily
from shardproxy.backup.identity import cluster_identity
from shardproxy.backup.making import BackupTools
from shardproxy.config import Backups, RedisCluster
from shardproxy.failover.event_log import EventLog
from shardproxy.failover.events import AlarmName, EventName
from shardproxy.failover.interfaces import SlotDesk
from shardproxy.jobs.allowed import Allowed
from shardproxy.model import Address
from shardproxy.model.replication import ShardKey
from shardproxy.nodes import NodeLinks
from shardproxy.replication.interface import End
from shardproxy.replication.snapshot import EngineSnapshot
from shardproxy.store.interface import Notebook

ConfigOf = Callable[[str], RedisCluster | None]  # as configured now


def backup_worker(
    links_of: Callable[[str], NodeLinks],
    end_of: Callable[[str, Address], End],
    config_of: ConfigOf,
    notebook: Notebook,
    allowed_of: Callable[[str], Allowed],
    paused: Callable[[str, float], None],
) -> BackupWorker:
    """The worker of this process."""

    def families_of(cluster: str) -> tuple[tuple[str, str], ...]:
        config = config_of(cluster)
        return tuple((rule.match, rule.hash) for rule in config.families) if config is not None else ()

    return BackupWorker(
        BackupTools(
            nodes_of=links_of,
            end_of=end_of,
            config_of=lambda cluster: backups_of(config_of(cluster)),
            families_of=families_of,
            identity=partial(cluster_identity, notebook),
            snapshot=EngineSnapshot,
            allowed_of=allowed_of,
            paused=paused,
        )
    )


async def run_backups(
    desk: SlotDesk,
    config_of: ConfigOf,
    start: Callable[[str, str, Mapping[str, Any]], Awaitable[Any]],
    events: EventLog,
    notebook: Notebook,
) -> None:
    """Ask for the cluster's daily backups, until cancelled."""

    async def ask(cluster: str, wants: Mapping[str, Any]) -> None:
        await start(cluster, "backup", wants)

    def alarm(cluster: str, text: str) -> None:
        events.add(EventName.SNAPSHOT_FAILED, ShardKey(cluster, 0), text)

    def trouble(cluster: str, text: str) -> None:
        name = EventName.ALARM if text else EventName.ALARM_CLEARED
        events.add(name, ShardKey(cluster, 0), text or "all old backups are deleted", about=AlarmName.BACKUPS)

    identity = partial(cluster_identity, notebook)
    tools = DailyTools(lambda cluster: backups_of(config_of(cluster)), ask, alarm, trouble, identity)
    await run_daily(desk, tools)


def backups_of(config: RedisCluster | None) -> Backups | None:
    """What is configured of a cluster's backups."""
    return config.backups if config is not None else None
