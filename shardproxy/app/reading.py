"""What a config and the files it names say, read at once: all of it is taken, or none."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from shardproxy.access.build import LoginPlan, plans_read
from shardproxy.access.inbound import Inbound
from shardproxy.admin.callers import Callers
from shardproxy.admin.tls import context_read
from shardproxy.commands.table import Table
from shardproxy.config import Config, ConfigError, SecretError
from shardproxy.config.files import FilesRead
from shardproxy.dataplane.tls import TlsError
from shardproxy.topology.reload import Clusters
from shardproxy.topology.settings import SettingsError, settings_read


@dataclass(frozen=True, slots=True)
class AllRead:
    """What a config and the files it names say."""

    settings: Clusters
    callers: Callers
    logins: tuple[LoginPlan, ...]  # how some are verified
    admin_tls: ssl.SSLContext | None  # what the admin API speaks, if not plain HTTP


def all_read(config: Config, table: Table, files: FilesRead) -> AllRead:
    """Read all that a config names, now; raise SettingsError. In `files` is noted what was read."""
    settings = settings_read(config, table.version, files=files)
    return AllRead(
        settings, callers_read(config, files), logins_read(config, files), admin_tls_read(config, files)
    )


def logins_read(config: Config, files: FilesRead) -> tuple[LoginPlan, ...]:
    """Read the key stores now; raise SettingsError."""
    try:
        return plans_read(config, files)
    except ConfigError as error:
        raise SettingsError(tuple(error.reasons)) from error


def admin_tls_read(config: Config, files: FilesRead) -> ssl.SSLContext | None:
    """Read what the admin API speaks TLS with; raise SettingsError."""
    try:
        return context_read(config.admin_access.tls if config.admin_access is not None else None, files)
    except TlsError as error:
        raise SettingsError(tuple(f"admin_access.tls: {why}" for why in error.reasons)) from error


def callers_read(config: Config, files: FilesRead) -> Callers:
    """Read the tokens of the admin API now; raise SettingsError."""
    for token in config.admin_access.tokens if config.admin_access is not None else ():
        if token.file is not None:
            files.note(token.file)
    try:
        return Callers.read(config.admin_access)
    except SecretError as error:
        raise SettingsError((f"admin_access: {error}",)) from error


def admin_names(config: Config) -> tuple[str, ...]:
    """The names under which the admin API may be asked."""
    return (*config.admin_names, *([config.admin.host] if config.admin.host else []))


def admin_inbound(config: Config) -> Inbound | None:
    """From where the admin API may be asked; None: from anywhere."""
    names = config.admin_access.inbound if config.admin_access is not None else ()
    return Inbound.of_admin(config.inbound(names)) if names else None
