"""`shardproxy help`: what is longer than a command's own --help."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

from shardproxy.manual import UnknownTopicError, topic_text, topics

WIDTH = 100  # columns, at most: longer lines are hard to read


def help(topic: str | None = None, /) -> int:  # the subcommand's name
    """Explain a topic: how to come from another proxy, what a node's user needs, what decides a failover, ...

    Parameters
    ----------
    topic
        Which; without it all are listed.
    """
    console = Console()
    if topic is None:
        console.print(topic_table())
        return 0
    try:
        text = topic_text(topic)
    except UnknownTopicError as error:
        print(error, file=sys.stderr)
        return 1
    if console.is_terminal:
        console.print(Markdown(text), width=min(console.width, WIDTH))
    else:
        print(text, end="")
    return 0


def topic_table() -> Table:
    """All topics, a line each."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, title in topics().items():
        table.add_row(f"shardproxy help {name}", title)
    return table
