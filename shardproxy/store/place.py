"""Where the state file is when the config does not say."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

DIRECTORY = "shardproxy"


def state_path(config_path: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """A file of its own for every config file, in the first of the usual places that is there."""
    digest = hashlib.sha256(str(config_path).encode()).hexdigest()[:8]
    return _directory(environment) / f"{config_path.stem}-{digest}.json"


def _directory(environment: Mapping[str, str]) -> Path:
    if given := environment.get("STATE_DIRECTORY"):  # systemd's, for this unit alone
        return Path(given.split(":")[0])
    if home := environment.get("XDG_STATE_HOME"):
        return Path(home) / DIRECTORY
    if os.geteuid() == 0:
        return Path("/var/lib") / DIRECTORY
    return Path.home() / ".local/state" / DIRECTORY
