"""`shardproxy diff`: whether two Redis hold the same."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import Annotated, Any

import trio
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.progress import BarColumn, Progress, TextColumn

from shardproxy.cli.ask import HERE, AskError, Output, Proxy, ask, console
from shardproxy.config.addresses import WILDCARDS
from shardproxy.importing.diff import DiffPlan, Tally, diff_run, side_open
from shardproxy.importing.errors import ForeignError
from shardproxy.importing.url import Foreign
from shardproxy.model import Address
from shardproxy.model.together import alone

SAME, DIFFERENT, TROUBLE = 0, 1, 2  # exit codes, as of diff(1)
SAY_EVERY = 10.0  # seconds, where there is no terminal


def diff(
    a: str,
    b: str,
    /,
    *,
    match: str | None = None,
    rate: Annotated[float, Parameter(validator=Number(gt=0))] = 5000,
    ttl_within: Annotated[int, Parameter(validator=Number(gte=0))] = 0,
    again: Annotated[int, Parameter(validator=Number(gte=0, lte=100))] = 3,
    shown: Annotated[int, Parameter(name="--show", validator=Number(gte=0))] = 20,
    output: Output = "table",
    proxy: Proxy = HERE,
) -> int:
    """Compare two Redis key by key: types, values whatever their encoding, and times to live.

    Changes nothing, asks primaries alone, and prints keys, never values. Keys that differ are looked at
    again, as both may be in use. Exits 0 when all is the same, 1 when not, and 2 when that is not known.

    A and B are each redis://[user[:password]@]host[:port][/database] (a node, or any node of a Redis
    Cluster), rediss:// for TLS, sentinel://host[:port],host/NAME, unix:/path, or the name of a cluster of the
    running proxy, whose endpoint is asked. Behind ? may stand password_file=/path, ca_file=/path and others.

    Parameters
    ----------
    match
        Only keys that match this glob.
    rate
        Keys a second, at most.
    ttl_within
        Milliseconds that times to live may differ. A second where a side is older than 7.0.
    again
        How often what differs is looked at again, one second later each time.
    shown
        How many of the keys that differ are printed.
    """
    plan = DiffPlan(match=match, rate=rate, ttl_within=ttl_within, again=again)
    try:
        ends = [_foreign(text, proxy) for text in (a, b)]
        tally = trio.run(_run, ends[0], ends[1], plan, output)
    except (ForeignError, AskError) as error:
        print(f"shardproxy: {error}", file=sys.stderr)
        return TROUBLE
    if output == "json":
        print(json.dumps(document(tally, shown), indent=2))
    else:
        _print(tally, shown)
    return SAME if tally.is_same else DIFFERENT


def _foreign(text: str, proxy: Proxy) -> Foreign:
    """Read a URL, or find the endpoint of a cluster of that name; raise ForeignError or AskError."""
    if ":" in text:
        return Foreign.parse(text)
    clusters = ask(proxy, "/api/topology")["clusters"]
    if text not in clusters:
        raise ForeignError(f"{text} is no cluster of {proxy.admin}, nor a URL like redis://host:6379")
    endpoints = [Address.parse(word) for word in clusters[text]["endpoints"]]
    if not endpoints:
        raise ForeignError(f"{text} has no endpoint: name a node, as redis://host:6379")
    endpoint = endpoints[0]
    if endpoint.host in WILDCARDS:
        admin = Address.parse(proxy.admin)
        endpoint = Address("127.0.0.1" if admin.is_unix else admin.host, endpoint.port)
    return Foreign((endpoint,))


async def _run(a: Foreign, b: Foreign, plan: DiffPlan, output: str) -> Tally:
    return await alone(partial(_compare, a, b, plan, output))


async def _compare(a: Foreign, b: Foreign, plan: DiffPlan, output: str) -> Tally:
    async with side_open("A", a) as side_a, side_open("B", b) as side_b:
        if output == "json":
            return await diff_run(side_a, side_b, plan, _nobody)
        out = console()
        if not out.is_terminal:
            return await diff_run(side_a, side_b, plan, _Lines().say)
        with Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"), console=out
        ) as progress:
            task = progress.add_task("comparing", total=None, text="")

            def say(tally: Tally) -> None:
                total = max(tally.keys_a + tally.keys_b, tally.scanned_a + tally.scanned_b)
                progress.update(
                    task, total=total, completed=tally.scanned_a + tally.scanned_b, text=_how_far(tally)
                )

            return await diff_run(side_a, side_b, plan, say)


class _Lines:
    """Says now and then how far it is."""

    def __init__(self) -> None:
        self._next = trio.current_time() + SAY_EVERY

    def say(self, tally: Tally) -> None:
        if trio.current_time() >= self._next:
            self._next = trio.current_time() + SAY_EVERY
            print(_how_far(tally), file=sys.stderr)


def _nobody(tally: Tally) -> None:
    """A program waits for the end."""


def _how_far(tally: Tally) -> str:
    seen = f"{tally.scanned_a} of {tally.keys_a} keys of A, {tally.scanned_b} of {tally.keys_b} of B"
    return f"{seen}; {len(tally.different)} differ"


def document(tally: Tally, shown: int) -> dict[str, Any]:
    """The result as JSON has it."""
    return {
        "same": tally.is_same,
        "compared": tally.compared,
        "scanned": {"a": tally.scanned_a, "b": tally.scanned_b},
        "gone": tally.gone,
        "settled": tally.settled,
        "complete": not tally.is_cut,
        "different": tally.counts(),
        "keys": [
            {
                "key": difference.key.decode(errors="backslashreplace"),
                "what": difference.what.value,
                "why": difference.text,
            }
            for difference in list(tally.different.values())[:shown]
        ],
    }


def _print(tally: Tally, shown: int) -> None:
    for difference in list(tally.different.values())[:shown]:
        print(difference)
    if len(tally.different) > shown:
        print(f"... and {len(tally.different) - shown} more")
    said = f"{tally.compared} keys compared"
    if tally.is_same:
        print(f"{said}: the same in both")
        return
    counts = ", ".join(f"{count} {what}" for what, count in tally.counts().items() if count)
    cut = "; so much differs that the rest was not looked at" if tally.is_cut else ""
    print(f"{said}: {len(tally.different)} differ ({counts}){cut}")
