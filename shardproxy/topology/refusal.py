"""Why a config is not served, and what to do about it where that is known."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import TypeAlias

from shardproxy.config import ConfigError
from shardproxy.model import Topology
from shardproxy.topology.reload import KeysHiddenError, NodesUnfitError, ServeError
from shardproxy.topology.settings import SettingsError

ADVICE = {
    errno.EADDRINUSE: "another process listens there: stop it, or choose a free address",
    errno.EADDRNOTAVAIL: "this machine has no such address: choose one it has, or 0.0.0.0 for all",
    errno.EACCES: "choose a port from 1024 up, or a directory this user may write to",
    errno.ENOENT: "create the directory of the unix socket first",
}


def explain(error: Exception) -> str:
    number = error.errno if isinstance(error, OSError) else None
    what = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    return f"{what} ({ADVICE[number]})" if number in ADVICE else what


Refusal: TypeAlias = ConfigError | SettingsError | ServeError | KeysHiddenError | NodesUnfitError
REFUSALS = (ConfigError, SettingsError, ServeError, KeysHiddenError, NodesUnfitError)


def problems(error: Refusal) -> list[str]:
    if isinstance(error, ConfigError | SettingsError):
        return list(error.reasons)
    if isinstance(error, KeysHiddenError | NodesUnfitError):
        return [str(error)]
    return [f"cluster {error.cluster}: {explain(error.cause)}"]


def why_refused(topologies: Mapping[str, Topology]) -> str | None:
    """Say which shards nobody serves until something is mended, and what."""
    said = [
        f"cluster {name}: shard {shard.label}: {shard.why_not}"
        for name, topology in topologies.items()
        for shard in topology.shards
        if shard.is_refused
    ]
    return "; ".join(said) or None
