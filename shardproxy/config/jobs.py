"""What jobs may touch beside the engines: whoever may ask for one over HTTP decides about no other files."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shardproxy.config.backups import AbsolutePath, Place
from shardproxy.config.base import Section

MAX_NAMED = 100


class Jobs(Section):
    """Which places and files of this machine jobs may name: reshard, backup, restore and import."""

    places: Annotated[tuple[Place, ...], Field(max_length=MAX_NAMED)] = ()
    """Directories and s3:// prefixes that backups may be written to and restored from, and all below them.
    Where a cluster's own backups go (`backups: {to: ...}`) needs no naming. Default: nothing else."""
    secrets: Annotated[
        tuple[Annotated[AbsolutePath, Field(examples=["/etc/shardproxy/import"])], ...],
        Field(max_length=MAX_NAMED),
    ] = ()
    """Directories in which files may lie that a job names: passwords, keys, certificates and RDB files. They
    can be sent to any host that an import names: keep there what is meant for that. Default: none."""
