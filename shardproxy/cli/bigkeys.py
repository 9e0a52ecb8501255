"""`shardproxy bigkeys`: the largest keys, as seen in requests and replies, or as a scan finds them."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from shardproxy.cli.ask import HERE, AskError, Output, Proxy, Watch, ask_lines, console, fail, path_of, show
from shardproxy.cli.tables import count, grid, moment, size

SILENCE = 60.0  # seconds that a scan may say nothing
INTERRUPTED = 130


def bigkeys(
    cluster: str | None = None,
    /,
    *,
    scan: Annotated[bool, Parameter(negative="")] = False,
    rate: Annotated[int, Parameter(validator=Number(gte=1, lte=1_000_000))] = 1000,
    samples: Annotated[int, Parameter(validator=Number(gte=1, lte=1000))] = 5,
    limit: Annotated[int, Parameter(validator=Number(gte=1, lte=1000))] = 20,
    output: Output = "table",
    watch: Watch = None,
    proxy: Proxy = HERE,
) -> int:
    """Show the largest requests and replies that this proxy has seen, by key; with --scan the largest keys.

    A scan goes through all keys of a replica of each shard (of the primary, where there is no replica), no
    faster than --rate and with rests for other clients, and shows the largest of each type. Ctrl-C ends it.
    It needs the right to act, as it has nodes work.
    With --output json every line is an object. Exit code 1 when no proxy answers, or it was not done.

    Parameters
    ----------
    cluster
        Default: all; a scan needs one.
    scan
        Look through all keys.
    rate
        So many keys a second are looked at, at most.
    samples
        So many elements of a key are weighed, at most, to tell its bytes.
    limit
        How many keys, with --scan of each type.
    """
    if not scan:
        return show(proxy, path_of("/api/bigkeys", cluster=cluster, limit=limit), output, _print, watch)
    if cluster is None:
        return fail(AskError("name the cluster to scan: shardproxy bigkeys CLUSTER --scan"))
    path = path_of("/api/bigkeys/scan", cluster=cluster, rate=rate, limit=limit, samples=samples)
    try:
        if output == "json":
            for line in ask_lines(proxy, path, silence=SILENCE):
                print(json.dumps(line), flush=True)
            return 0
        return _follow(proxy, path)
    except AskError as error:
        return fail(error)
    except KeyboardInterrupt:
        return INTERRUPTED


def _print(answer: dict[str, Any], out: Console) -> None:
    for name, big in answer["clusters"].items():
        title = f"cluster {escape(name)}: largest requests and replies seen"
        right = ("shard", "slot", "request", "reply")
        table = grid(
            out, ("key", "shard", "slot", "command", "request", "reply", "at (UTC)"), right, title=title
        )
        for key in big["keys"]:
            table.add_row(
                escape(key["key"]),
                str(key["shard"]),
                "" if key["slot"] is None else str(key["slot"]),
                escape(key["command"]),
                size(key["request_bytes"]),
                size(key["reply_bytes"]),
                moment(key["at"]),
            )
        out.print(table if big["keys"] else f"cluster {escape(name)}: no key stands out")


def _follow(proxy: Proxy, path: str) -> int:
    """Show how far it is, and then what was found; 1 where a shard could not be scanned."""
    out, code = console(), 0
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task("scanning", total=None)
        for line in ask_lines(proxy, path, silence=SILENCE):
            if "progress" in line:
                _advance(bar, task, line["progress"])
            elif "error" in line:
                print(f"shardproxy: {line['error']}", file=sys.stderr)
                code = 1
            elif "type" in line:
                bar.stop()
                _print_type(line, out)
            else:
                out.print(
                    f"{count(line['scanned'])} keys scanned in {line['seconds']:.1f} s", highlight=False
                )
    return code


def _advance(bar: Progress, task: TaskID, progress: dict[str, Any]) -> None:
    what = f"shard {progress['shard']}: {count(progress['scanned'])} of {count(progress['of'])} keys"
    bar.update(task, description=what, completed=progress["scanned"], total=progress["of"] or None)


def _print_type(line: dict[str, Any], out: Console) -> None:
    elements = "length" if line["type"] == "string" else "elements"
    columns = (f"{line['type']} key", "shard", elements, "memory")
    table = grid(out, columns, columns[1:])
    for key in line["keys"]:
        elements = f"{key['elements']:,}" if key["elements"] else ""
        table.add_row(escape(key["key"]), str(key["shard"]), elements, size(key["bytes"]))
    out.print(table)
