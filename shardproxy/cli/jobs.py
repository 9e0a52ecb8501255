"""`shardproxy jobs`: long work on clusters, under way and over."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

from cyclopts import Parameter
from rich.markup import escape
from rich.table import Table

from shardproxy.cli.ask import HERE, AskError, Output, Proxy, ask, console
from shardproxy.cli.waiting import Wish, job_find, progress_text, watch, wish

COLUMNS = ("cluster", "job", "kind", "state", "asked", "took", "what became of it")
Flag = Annotated[bool, Parameter(negative="")]


def jobs(
    cluster: str | None = None,
    job: str | None = None,
    /,
    *,
    wait: Flag = False,
    pause: Flag = False,
    resume: Flag = False,
    abort: Flag = False,
    output: Output = "table",
    proxy: Proxy = HERE,
) -> int:
    """Show resharding, backups, restores and imports: how far they are, and what became of the last ones.

    One job at a time works on a cluster; whoever leads the cluster does it, and the next leader goes on.
    Exit code 1 when no proxy answers, when what is asked for is refused, or when the job that was waited for
    failed; 3 when that was given up.

    Parameters
    ----------
    cluster
        Default: all.
    job
        Its number. Default: the one that is not over, or the newest.
    wait
        Show how far it is until it is over.
    pause
        Have it stop where it is, and go on with --resume. What it has copied stays, and is not kept fresh
        longer than the nodes allow.
    resume
        Have it go on.
    abort
        Give it up: what can be undone is, what is done already is finished.
    """
    wishes: dict[Wish, bool] = {"pause": pause, "resume": resume, "abort": abort}
    asked = [name for name, is_asked in wishes.items() if is_asked]
    if len(asked) + wait > 1 or ((asked or wait or job) and cluster is None):
        print("shardproxy: name a cluster, and one of --wait, --pause, --resume and --abort", file=sys.stderr)
        return 1
    if asked and cluster is not None:
        return wish(proxy, cluster, asked[0], number=job, output=output)
    try:
        if wait and cluster is not None:
            if (found := job_find(proxy, cluster, job)) is None:
                raise AskError(f"{cluster} has no job" + (f" {job}" if job else ""))
            return watch(proxy, found, output=output)
        answer = ask(proxy, "/api/jobs" + (f"?cluster={quote(cluster)}" if cluster is not None else ""))
    except AskError as error:
        print(f"shardproxy: {error}", file=sys.stderr)
        return 1
    found_all = [one for one in answer["jobs"] if job is None or one["id"] == job]
    if output == "json":
        print(json.dumps({"jobs": found_all}, indent=2))
    elif found_all:
        console().print(jobs_table(found_all))
    else:
        print("no job")
    return 0


def jobs_table(found: list[dict[str, Any]]) -> Table:
    """A row for each, the newest last."""
    table = Table(header_style="bold")
    for column in COLUMNS:
        table.add_column(column, justify="right" if column in ("job", "took") else "left", overflow="fold")
    for job in found:
        ended = job["ended_at"] if job["is_over"] else 0.0
        table.add_row(
            job["cluster"],
            job["id"],
            job["kind"],
            job["state"],
            f"{datetime.fromtimestamp(job['asked_at'], UTC):%m-%d %H:%M:%S}",
            f"{ended - job['began_at']:.1f} s" if ended and job["began_at"] else "",
            escape((job["why"] or job["result"].get("text", "")) if job["is_over"] else progress_text(job)),
            style="red" if job["state"] == "failed" else "" if job["is_over"] else "bold",
        )
    return table
