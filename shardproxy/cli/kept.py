"""Where the backups are that a subcommand is about, and with which key they open."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from shardproxy.archive import Archive, ArchiveError
from shardproxy.archive.place import Place
from shardproxy.backup.settings import archive_open, place_open, spool_of
from shardproxy.config import Backups, ConfigError, RedisCluster, load_config
from shardproxy.config.backups import S3


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Kept:
    """A place, told or configured."""

    from_: Annotated[
        str | None, Parameter(name="--from", help="Where they are: a directory, or s3://BUCKET/PREFIX.")
    ] = None
    config: Annotated[
        Path | None, Parameter(help="A config file that says where they are, and which key they have.")
    ] = None
    cluster: Annotated[str | None, Parameter(help="Whose, of the config's clusters.")] = None
    key_file: Annotated[Path | None, Parameter(help="The file with the key of those that are encrypted.")] = (
        None
    )
    unencrypted: Annotated[
        bool,
        Parameter(
            negative="",
            help="Take one that is not encrypted where the config has a key: nobody vouches for it.",
        ),
    ] = False
    s3_endpoint: Annotated[
        str | None,
        Parameter(
            help="URL of what speaks S3 and is not AWS. Also $AWS_ENDPOINT_URL.",
            env_var="AWS_ENDPOINT_URL",
            show_env_var=False,
        ),
    ] = None
    s3_region: Annotated[
        str | None,
        Parameter(help="The bucket's region. Also $AWS_REGION.", env_var="AWS_REGION", show_env_var=False),
    ] = None
    spool: Annotated[
        Path | None, Parameter(help="A directory for files on their way. Default: that for temporary files.")
    ] = None

    async def archive(self) -> Archive:
        """Raise ArchiveError or UsageError."""
        backups = self._backups()
        return await archive_open(backups, self.from_ or backups.to)

    async def archive_at(self, place: str) -> Archive:
        """The same key, elsewhere."""
        return await archive_open(self._backups(), place)

    async def place_at(self, place: str) -> Place:
        """Another place, reached in the same way."""
        return await place_open(self._backups(), place)

    @property
    def spool_path(self) -> Path:
        return self.spool or spool_of(self._configured())

    def _backups(self) -> Backups:
        configured = self._configured()
        place = self.from_ or (configured.to if configured is not None else None)
        if place is None:
            raise UsageError("say where the backups are: --from DIR or s3://..., or --config FILE")
        changes: dict[str, Any] = {"to": place}
        if self.unencrypted and self.key_file is not None:
            raise UsageError("--unencrypted and --key-file contradict each other: leave out one of them")
        if self.unencrypted:
            changes["key_file"] = None
        if self.key_file is not None:
            changes["key_file"] = str(self.key_file.absolute())
        s3 = (configured.s3 if configured is not None else None) or S3()
        given = {"endpoint": self.s3_endpoint, "region": self.s3_region}
        changes["s3"] = s3.model_copy(update={name: one for name, one in given.items() if one is not None})
        return (configured or ANY).model_copy(update=changes)

    def _configured(self) -> Backups | None:
        if self.config is None:
            return None
        try:
            config = load_config(self.config)
        except ConfigError as e:
            raise UsageError(str(e)) from e
        found = {
            name: cluster.backups
            for name, cluster in config.clusters.items()
            if isinstance(cluster, RedisCluster)
            and cluster.backups is not None
            and self.cluster in (None, name)
        }
        if len(found) != 1:
            there = ", ".join(found) or "none"
            raise UsageError(
                f"--cluster NAME says whose backups; clusters with backups in {self.config}: {there}"
            )
        return next(iter(found.values()))


class UsageError(Exception):
    """What was written says too little; the text says what is missing."""


NOWHERE = Kept()
ANY = Backups(to="/")


async def told(work: Callable[[], Awaitable[int]]) -> int:
    """Do it, and say in one line why it could not be done; return the exit code."""
    try:
        return await work()
    except (ArchiveError, UsageError) as error:
        print(f"shardproxy: {error}", file=sys.stderr)
        return 1
