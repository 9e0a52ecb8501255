"""`shardproxy restore`: a backup, or RDB files of anybody's, into a cluster."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from shardproxy.cli.ask import HERE, Output, Proxy
from shardproxy.cli.waiting import Detach, PlanOnly, submit

Flag = Annotated[bool, Parameter(negative="")]


def restore(
    name: str | None = None,
    /,
    *,
    to: str,
    place: Annotated[str | None, Parameter(name="--from")] = None,
    rdb: Annotated[tuple[Path, ...], Parameter(consume_multiple=True, negative="")] = (),
    replace: Flag = False,
    match: str | None = None,
    functions: bool = True,
    key_file: Path | None = None,
    unencrypted: Flag = False,
    detach: Detach = False,
    plan: PlanOnly = False,
    output: Output = "table",
    proxy: Proxy = HERE,
) -> int:
    """Restore a backup, or RDB files of anybody's, into a cluster of any number of shards and any slots.

    The cluster has to be empty, unless --replace is given. Everything is read and understood before anything
    is written. Keys that have expired since, and keys left over from moves of slots, are skipped. Prints the
    plan, and waits. Who leads the cluster does it: files and directories are those of its machine. Exit code
    1 says why not.

    Parameters
    ----------
    name
        The backup: shardproxy backup list shows them.
    to
        The cluster.
    place
        Where the backup is: a directory, or s3://BUCKET/PREFIX.
    rdb
        Instead, RDB files: of Redis, Valkey, the nodes of a Redis Cluster, or exported from ElastiCache.
    replace
        Overwrite keys that are there; others stay.
    match
        Only keys that match this glob.
    functions
        Restore the libraries of functions, too.
    key_file
        What the backup is encrypted with. Default: the key of the cluster's own backups, for those.
    unencrypted
        Take a backup that is not encrypted from where the cluster's own are, which have a key.
    """
    if (name is None) != (place is None) or (place is None) == (not rdb):
        print("shardproxy: restore NAME --from DIR|s3://.. or restore --rdb FILE..", file=sys.stderr)
        return 1
    wants = {
        "name": name or "",
        "from": _absolute(place) if place is not None else "",
        "rdb": [str(file.absolute()) for file in rdb],
        "replace": replace,
        "match": match or "",
        "functions": functions,
        "key_file": str(key_file.absolute()) if key_file is not None else "",
        "unencrypted": unencrypted,
    }
    return submit(proxy, to, "restore", wants, detach=detach, plan=plan, output=output)


def _absolute(place: str) -> str:
    return place if "://" in place else str(Path(place).absolute())
