"""From a config to what every cluster is served with, secrets included."""

from __future__ import annotations

from shardproxy.config import Config, ConfigError, SecretError
from shardproxy.config.files import FilesRead
from shardproxy.config.users import UsersError, users_placed
from shardproxy.dataplane.spec import ClusterSettings, DeciderError
from shardproxy.dataplane.tls import TlsError
from shardproxy.dataplane.users import ProxyUser, rules_wrong, users_read


class SettingsError(Exception):
    """A config that is well written but cannot be served; holds every reason."""

    def __init__(self, reasons: tuple[str, ...]) -> None:
        super().__init__("\n".join(reasons))
        self.reasons = reasons


def settings_read(
    config: Config, version: str, *, files: FilesRead | None = None
) -> dict[str, ClusterSettings]:
    """Read the settings and secrets of every cluster; raise SettingsError.

    In `files` is noted which files they were read from, also when they are refused.
    """
    files = FilesRead(config.source.directory) if files is None else files
    reasons: list[str] = []
    settings = {}
    for name, cluster in config.clusters.items():
        users: tuple[ProxyUser, ...] | None
        try:
            placed = users_placed(config, name, files)
            users = None if placed is None else users_read(cluster, placed, files)
        except (ConfigError, UsersError) as error:
            reasons += error.reasons
            users = ()  # nobody, and it is not served anyway
        try:
            settings[name] = ClusterSettings.read(
                cluster, version, config.zone, config.security_groups, users, files
            )
        except TlsError as error:
            reasons += [f"clusters.{name}.{reason}" for reason in error.reasons]
        except DeciderError as error:
            reasons.append(f"clusters.{name}.topology: {error}")
        except SecretError as error:
            reasons.append(f"clusters.{name}.node_auth: {error}")
    if reasons:
        raise SettingsError(tuple(dict.fromkeys(reasons)))
    return settings


def users_wrong(config: Config) -> tuple[str, ...]:
    """What is wrong with users that could be served, passwords aside: nothing secret is read."""
    files = FilesRead(config.source.directory)
    reasons: list[str] = []
    for name in config.clusters:
        try:
            placed = users_placed(config, name, files)
            if problems := list(rules_wrong(placed or ())):
                raise UsersError(problems)
        except (ConfigError, UsersError) as error:
            reasons += error.reasons
    return tuple(dict.fromkeys(reasons))
