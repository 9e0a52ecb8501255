"""From a config to what every cluster is served with, secrets included."""

from __future__ import annotations

from shardproxy.config import Config, SecretError
from shardproxy.config.files import FilesRead
from shardproxy.dataplane.spec import ClusterSettings
from shardproxy.dataplane.tls import TlsError


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
        try:
            settings[name] = ClusterSettings.read(
                cluster, version, config.zone, config.security_groups, files
            )
        except TlsError as error:
            reasons += [f"clusters.{name}.{reason}" for reason in error.reasons]
        except SecretError as error:
            reasons.append(f"clusters.{name}.node_auth: {error}")
    if reasons:
        raise SettingsError(tuple(reasons))
    return settings
