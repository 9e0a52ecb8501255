"""Opens what a process needs, and runs it."""

from __future__ import annotations

import socket
from pathlib import Path

import trio

from shardproxy.access.audit import Audit, why_not_written
from shardproxy.app.process import SIGNALS, App
from shardproxy.app.reading import all_read
from shardproxy.app.starting import Serving, StartError, admin_listening, dataplane_start
from shardproxy.commands.table import Table
from shardproxy.config import Config
from shardproxy.config.files import FilesRead
from shardproxy.store.member import member_name
from shardproxy.store.opening import StoreOpeningError, store_opened
from shardproxy.topology.settings import SettingsError


async def run_app(
    config: Config,
    *,
    config_path: Path | None = None,
    task_status: trio.TaskStatus[Serving] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until a signal ends it; raise StartError when it cannot start."""
    table = Table.load()
    files = FilesRead(config.source.directory)
    try:
        read = all_read(config, table, files)
    except SettingsError as error:
        raise StartError(str(error)) from error
    audit = Audit(config.audit.log if config.audit is not None else None)
    if audit.place is not None and (why := why_not_written(audit.place)) is not None:
        raise StartError(why)
    member = member_name(config.name or socket.gethostname())
    try:
        with trio.open_signal_receiver(*SIGNALS) as signals, admin_listening(config.admin) as listener:
            async with store_opened(config, config_path, member=member) as store:
                dataplane = dataplane_start(config, table)
                try:
                    app = App(config, config_path, table, dataplane, listener, store, read, audit)
                    await app.run(read.settings, files.seen, signals, task_status)
                finally:
                    dataplane.stop()
    except StoreOpeningError as error:
        raise StartError(str(error)) from error
