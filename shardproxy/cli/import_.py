"""`shardproxy import`: what another Redis has, taken in and followed."""

from __future__ import annotations

import json
import sys
import time
from typing import Annotated

from cyclopts import App, Parameter

from shardproxy.cli.ask import HERE, AskError, Output, Proxy
from shardproxy.cli.waiting import (
    FAILED,
    POLL,
    Detach,
    PlanOnly,
    job_line,
    job_of,
    submit,
    watch,
    wish,
)
from shardproxy.config.sizes import parse_size

Flag = Annotated[bool, Parameter(negative="")]

HELP = """Take in what another Redis has: a node, one behind Sentinels, or a Redis Cluster.

Without --follow it is one pass over its keys: what changes meanwhile may be missed. With --follow changes
are copied until you have everybody write to the new one, and finish:

    shardproxy import redis://old:6379 --to CLUSTER --follow --detach
    shardproxy import status CLUSTER        dirty is near 0
    (everybody stops writing to the old one)
    shardproxy import finish CLUSTER        the last changes, a sample compared; then it is over
    (everybody uses the new one)

The old one is only read: from a replica where it has one. Prints the plan, and waits. Exit code 1 says
why not.
"""

import_ = App(name="import", help=HELP, backend="trio")


@import_.default
def begin(
    url: str,
    /,
    *,
    to: str,
    follow: Flag = False,
    replace: Flag = False,
    match: str | None = None,
    rate: str = "0",
    functions: bool = True,
    detach: Detach = False,
    plan: PlanOnly = False,
    output: Output = "table",
    proxy: Proxy = HERE,
) -> int:
    """Take in what another Redis has.

    Parameters
    ----------
    url
        redis://[user@]host[:port][/database], rediss:// for TLS, sentinel://host[:port],host/NAME or
        unix:/path, and behind ? password_file=/path, ca_file=/path and others: files of the machine whose
        proxy leads the cluster. A password cannot stand in it.
    to
        The cluster.
    follow
        Copy what changes, too, until it is finished.
    replace
        Delete what the cluster has and the old one has not. Without it the cluster has to be empty.
    match
        Only keys that match this glob.
    rate
        Bytes a second of the first copy, as 10mb. 0: as fast as the old one's latency allows.
    functions
        Take in the libraries of functions, too.
    """
    try:
        bytes_a_second = parse_size(int(rate) if rate.isdigit() else rate)
    except ValueError as error:
        print(f"shardproxy: --rate {rate}: {error}", file=sys.stderr)
        return FAILED
    wants = {
        "url": url,
        "follow": follow,
        "replace": replace,
        "match": match or "",
        "rate": bytes_a_second,
        "functions": functions,
    }
    return submit(proxy, to, "import", wants, detach=detach, plan=plan, output=output)


@import_.command
def status(cluster: str, /, *, output: Output = "table", proxy: Proxy = HERE) -> int:
    """Show how far the import into a cluster is, or what became of the last one.

    It can be finished when dirty, the keys that are still to be copied again, is near 0.
    """
    try:
        job = job_of(proxy, cluster, "import")
    except AskError as error:
        return _fail(error)
    if output == "json":
        print(json.dumps({"job": job}, indent=2))
    else:
        print(job_line(job))
    return 0


@import_.command
def finish(cluster: str, /, *, output: Output = "table", proxy: Proxy = HERE) -> int:
    """Bring an import to its end, once nobody writes to the old one any more.

    Copies the last changes, and compares a sample of both sides. When that cannot be done the import goes on
    as before, and exit code 1 says why.
    """
    try:
        job = job_of(proxy, cluster, "import")
        if job["is_over"]:
            raise AskError(f"{job_line(job)}: nothing to finish")
        code = wish(proxy, cluster, "finish", number=str(job["id"]), output=output)
        if code:
            return code
        while True:
            time.sleep(POLL)
            job = job_of(proxy, cluster, "import")
            if job["is_over"]:
                return watch(proxy, job, output=output)
            if job["state"] != "finishing":
                raise AskError(f"{job['progress']['text'] or 'it is not finished'}")
    except AskError as error:
        return _fail(error)


@import_.command
def abort(cluster: str, /, *, output: Output = "table", proxy: Proxy = HERE) -> int:
    """Give an import up. The old one is as it was; what was copied stays in the cluster."""
    try:
        job = job_of(proxy, cluster, "import")
    except AskError as error:
        return _fail(error)
    return wish(proxy, cluster, "abort", number=str(job["id"]), output=output)


def _fail(error: AskError) -> int:
    print(f"shardproxy: {error}", file=sys.stderr)
    return FAILED
