"""`shardproxy backup`: backups of whole clusters, made by the proxy that leads, kept in a directory or S3."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.markup import escape
from rich.progress import DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from shardproxy.archive import Manifest
from shardproxy.archive.manifest import manifest_encode
from shardproxy.backup.kept import backup_copy, backup_delete, backup_export, backup_verify
from shardproxy.backup.saying import cut_text, size_text
from shardproxy.cli.ask import HERE, Output, Proxy, console
from shardproxy.cli.kept import NOWHERE, Kept, told
from shardproxy.cli.waiting import Detach, PlanOnly, submit
from shardproxy.config.slots import format_slots

backup = App(name="backup", help="Make, look at, check, copy and delete backups.", backend="trio")
Flag = Annotated[bool, Parameter(negative="")]


@backup.command
def create(
    cluster: str,
    /,
    *,
    name: str,
    to: str | None = None,
    final: Flag = False,
    no_fence: Flag = False,
    detach: Detach = False,
    plan: PlanOnly = False,
    output: Output = "table",
    proxy: Proxy = HERE,
) -> int:
    """Back up a cluster: one RDB for each shard, all of one moment, from replicas where there are any.

    Writes wait for some ten milliseconds while all shards fork. After 500 that is given up, and the backup
    says that its shards are of moments of their own. The files are read, checked and kept by the proxy that
    leads the cluster: a directory is one of its machine.

    Parameters
    ----------
    cluster
        The cluster's name.
    name
        What to call it: letters, digits and single hyphens, a letter first. A name is used but once.
    to
        A directory of the leader's machine, or s3://BUCKET/PREFIX. Default: as configured.
    final
        It is the last one, before the cluster is taken away.
    no_fence
        Let no write wait: each shard is of a moment of its own.
    """
    wants: dict[str, Any] = {"name": name, "to": to, "origin": "final" if final else "manual"}
    if no_fence:
        wants["fence"] = False
    return submit(proxy, cluster, "backup", wants, detach=detach, plan=plan, output=output)


@backup.command(name="list")
async def list_(*, kept: Kept = NOWHERE, output: Output = "table") -> int:
    """List the backups of a place, the oldest first."""

    async def work() -> int:
        archive = await kept.archive()
        found, faults = await archive.manifests()
        if kept.cluster is not None:
            found = [one for one in found if one.cluster == kept.cluster]
        if output == "json":
            print(json.dumps({"backups": [_json(one) for one in found], "faults": faults}, indent=2))
        else:
            console().print(_listed(found)) if found else print(f"no backup in {archive.url}")
            for name, why in faults.items():
                print(f"{name}: {why}")
        return 0

    return await told(work)


@backup.command
async def show(name: str, /, *, kept: Kept = NOWHERE, output: Output = "table") -> int:
    """Show what is in a backup. Its files are not read: that is what verify does.

    Parameters
    ----------
    name
        The backup's name.
    """

    async def work() -> int:
        manifest = await (await kept.archive()).manifest(name, checked=kept.key_file is not None)
        if output == "json":
            print(json.dumps(_json(manifest), indent=2))
        else:
            _show(manifest)
        return 0

    return await told(work)


@backup.command
async def verify(name: str, /, *, kept: Kept = NOWHERE) -> int:
    """Read a backup to its end: sha256 and crc64 of each file, each key, and all counts of the manifest.

    Exit code 1 when anything differs.

    Parameters
    ----------
    name
        The backup's name.
    """

    async def work() -> int:
        with _shown("verifying") as progress:
            manifest = await backup_verify(
                await kept.archive(), name, kept.spool_path, progress=progress.told
            )
        print(f"{name} is whole: {manifest.keys} keys in {len(manifest.files)} files; {cut_text(manifest)}")
        for warning in manifest.warnings:
            print(warning)
        return 0

    return await told(work)


@backup.command
async def copy(name: str, new_name: str, /, *, to: str | None = None, kept: Kept = NOWHERE) -> int:
    """Copy a backup, to another place or under another name. The copy is kept until it is deleted.

    Parameters
    ----------
    name
        The backup's name.
    new_name
        What to call the copy.
    to
        A directory, or s3://BUCKET/PREFIX. Default: where it is.
    """

    async def work() -> int:
        archive = await kept.archive()
        target = archive if to is None else await kept.archive_at(to)
        with _shown("copying") as progress:
            made = await backup_copy(archive, name, target, new_name, progress=progress.told)
        print(f"{new_name} in {target.url}: {size_text(made.stored_bytes)}")
        return 0

    return await told(work)


@backup.command
async def delete(name: str, /, *, kept: Kept = NOWHERE) -> int:
    """Delete a backup, or what is left of one that never was whole.

    Parameters
    ----------
    name
        The backup's name.
    """

    async def work() -> int:
        freed = await backup_delete(await kept.archive(), name)
        print(f"{name} is deleted: {size_text(freed)}")
        return 0

    return await told(work)


@backup.command
async def export(name: str, /, *, to: str, kept: Kept = NOWHERE) -> int:
    """Write a backup as plain RDB files, one a shard, as ElastiCache exports and takes them.

    Parameters
    ----------
    name
        The backup's name. Its files are called NAME-0001.rdb and so on.
    to
        A directory, or s3://BUCKET/PREFIX.
    """

    async def work() -> int:
        place = await kept.place_at(to)
        with _shown("exporting") as progress:
            written = await backup_export(await kept.archive(), name, place, progress=progress.told)
        for file, target in written:
            print(f"{to.rstrip('/')}/{target}  shard {file.shard}, slots {format_slots(file.slots)}")
        return 0

    return await told(work)


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"


def _json(manifest: Manifest) -> Any:
    return json.loads(manifest_encode(manifest))


def _listed(found: list[Manifest]) -> Table:
    table = Table(header_style="bold")
    for column in ("name", "cluster", "made (UTC)", "origin", "shards", "keys", "size", "moment"):
        table.add_column(column, justify="right" if column in ("shards", "keys", "size") else "left")
    for one in found:
        table.add_row(
            escape(one.name),
            escape(one.cluster),
            _time(one.cut.at or one.began),
            one.origin.value + (", encrypted" if one.key else ""),
            str(len(one.files)),
            str(one.keys),
            size_text(one.stored_bytes),
            "one" if one.cut.is_fenced else "one a shard",
        )
    return table


def _show(manifest: Manifest) -> None:
    took = manifest.ended - manifest.began
    print(f"{manifest.name}: {manifest.origin.value} backup of {manifest.cluster}, {cut_text(manifest)}")
    print(f"made at {_time(manifest.cut.at or manifest.began)} UTC in {took:.1f} s by {manifest.version}")
    print(
        f"{manifest.keys} keys, {size_text(manifest.stored_bytes)}"
        + (f", encrypted with the key {manifest.key}" if manifest.key else "")
    )
    for warning in manifest.warnings:
        print(warning)
    table = Table(header_style="bold")
    for column in ("shard", "slots", "read from", "engine", "file"):
        table.add_column(column)
    for column in ("keys", "with a time", "functions", "size"):
        table.add_column(column, justify="right")
    for file in manifest.files:
        table.add_row(
            escape(file.shard),
            format_slots(file.slots),
            escape(f"{file.node} ({file.role})"),
            file.engine,
            file.file,
            str(file.keys),
            str(file.expires),
            str(file.functions),
            size_text(file.stored_bytes),
        )
    console().print(table)


class _shown:  # noqa: N801  # a context manager, used like a function
    """Bytes as they go by, on a terminal."""

    def __init__(self, what: str) -> None:
        out = console()
        columns = (TextColumn("{task.description}"), DownloadColumn(), TransferSpeedColumn())
        self._progress = Progress(*columns, console=out, transient=True, disable=not out.is_terminal)
        self._task = self._progress.add_task(what, total=None)

    def told(self, more: int) -> None:
        """Called from other threads."""
        self._progress.advance(self._task, more)

    def __enter__(self) -> _shown:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()
