"""`shardproxy dead-letters`: writes behind that a database refused."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from shardproxy.cli.ask import HERE, Output, Proxy, show

COLUMNS = ("key", "operation", "reason", "stream", "id")


def dead_letters(
    cluster: str,
    /,
    *,
    count: Annotated[int, Parameter(validator=Number(gte=1, lte=1000))] = 100,
    output: Output = "table",
    proxy: Proxy = HERE,
) -> int:
    """Show the writes behind that a cluster's databases refused, each with the reason.

    Nothing deletes them but you: XDEL STREAM ID, through the proxy; XRANGE STREAM ID ID shows what was
    written.
    Exit code 1 when no proxy answers.

    Parameters
    ----------
    cluster
        Its name.
    count
        How many at most.
    """
    return show(proxy, f"/api/dead-letters?cluster={quote(cluster)}&count={count}", output, _print)


def _print(answer: dict[str, Any], out: Console) -> None:
    table = Table(header_style="bold")
    for column in COLUMNS:
        table.add_column(column, overflow="fold")
    for letter in answer["letters"]:
        table.add_row(*(escape(str(letter[column])) for column in COLUMNS))
    out.print(table if answer["letters"] else "no dead letters")
