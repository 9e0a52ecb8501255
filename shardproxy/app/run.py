"""Opens what a process needs, and runs it."""

from __future__ import annotations

import socket
from pathlib import Path

import trio

from shardproxy.access.audit import Audit, why_not_written
from shardproxy.app.handover import handover_path, inheritance_of
from shardproxy.app.process import SIGNALS, App
from shardproxy.app.reading import all_read
from shardproxy.app.starting import Opened, Serving, StartError, admin_listening, dataplane_start
from shardproxy.commands.table import Table
from shardproxy.config import Config
from shardproxy.config.files import FilesRead
from shardproxy.store.member import member_name
from shardproxy.store.opening import StoreOpeningError, store_opened, store_path
from shardproxy.topology.discovery import Finder
from shardproxy.topology.settings import SettingsError


async def run_app(
    config: Config,
    *,
    config_path: Path | None = None,
    takes_over: bool = False,
    task_status: trio.TaskStatus[Serving] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until a signal ends it, or another process takes over; raise StartError when it cannot start."""
    table = Table.load()
    files = FilesRead(config.source.directory)
    finder = Finder()
    try:
        config = await finder.laid_over(config)
        read = all_read(config, table, files)
    except SettingsError as error:
        raise StartError(str(error)) from error
    audit = Audit(config.audit.log if config.audit is not None else None)
    if audit.place is not None and (why := why_not_written(audit.place)) is not None:
        raise StartError(why)
    member = member_name(config.name or socket.gethostname())
    place = handover_path(state) if (state := store_path(config, config_path)) is not None else None
    inheritance = inheritance_of(place if takes_over else None, member)
    admin = inheritance.admin(config)
    try:
        with (
            trio.open_signal_receiver(*SIGNALS) as signals,
            admin_listening(
                config.admin,
                admin.socket if admin is not None else None,
                is_kept=admin is not None and admin.is_kept,
            ) as listener,
        ):
            opened = store_opened(
                config, config_path, member=member, before=inheritance.link, twin=inheritance.member
            )
            async with opened as store:
                dataplane = dataplane_start(config, table)
                inheritance.give(config, dataplane)
                try:
                    app = App(
                        Opened(
                            config,
                            config_path,
                            read,
                            files.seen,
                            table,
                            dataplane,
                            listener,
                            store,
                            audit,
                            finder,
                            inheritance,
                            place,
                        )
                    )
                    await app.run(signals, task_status)
                finally:
                    dataplane.stop()
    except StoreOpeningError as error:
        raise StartError(str(error)) from error
    finally:
        if inheritance.link is not None:
            inheritance.link.close()
