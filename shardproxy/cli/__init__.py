"""The command line: one file per subcommand, each imported only when it is called."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from keyword import iskeyword
from pathlib import Path
from typing import TYPE_CHECKING

from shardproxy import __version__

if TYPE_CHECKING:
    from cyclopts import App

HELP = """One endpoint over many shards of unmodified Redis or memcached.

Try it with `shardproxy demo`; then write a config, check it, and run it.
"""

WATCH_EVERY = 2  # seconds
CLOSED_PIPE = 128 + 13  # as a shell shows a program that SIGPIPE ended

# Subcommand: what it does. The function of the same name in the file of the same name does it.
COMMANDS = {
    "demo": "Start a local fleet of shards, and the proxy in front of it.",
    "run": "Serve the clusters of a config file.",
    "status": "Show the shards and nodes of a running proxy.",
    "top": "Watch clusters, shards and rates live.",
    "topology": "Show what a running proxy routes by.",
    "events": "Show what happened to its shards.",
    "hotkeys": "Show the keys, slots and families that are asked for most.",
    "bigkeys": "Show the largest keys.",
    "slowlog": "Show the slowest requests, and where their time went.",
    "trace": "Watch requests as they are answered.",
    "explain": "Say where a request goes, and why.",
    "advice": "Say what is wrong with how clusters are used, and what to do.",
    "plan": "Say how full and busy other shards would be, and what they cost.",
    "dead-letters": "Show writes that a database refused.",
    "switchover": "Hand a shard over to a replica.",
    "failover": "Try or force the failover of a shard.",
    "backup": "Make, look at, check, copy and delete backups.",
    "pause": "Have nothing done to nodes by itself.",
    "resume": "Have it done again.",
    "scale": "Spread the slots of a cluster over another number of shards.",
    "reshard": "Move slots to another shard.",
    "rebalance": "Move slots so that shards weigh alike.",
    "drain": "Move all slots away from a shard.",
    "jobs": "Show resharding, backups, restores and imports.",
    "check": "Say whether a config file is right, or what an application would meet on several shards.",
    "restore": "Restore a backup, or RDB files, into a cluster.",
    "import": "Take in what another Redis has, and follow it.",
    "diff": "Compare two Redis key by key.",
    "doctor": "Say what is wrong with this machine, a config and its nodes.",
    "config": "Help to write a config file.",
    "help": "Explain a topic at length.",
    "completion": "Print what makes bash, zsh or fish complete command lines.",
    "man": "Print the manual page.",
    "version": "Show the versions of what is installed.",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (default: this process's); return the exit code."""
    words = watch_seconds(sys.argv[1:] if arguments is None else arguments)
    if (file := _file_to_serve(words)) is not None:
        from shardproxy.cli.run import run

        return run(config=file)
    called = next((word for word in words if not word.startswith("-")), None)
    try:
        try:
            return int(command_line(called)(words, result_action="return_int_as_exit_code_else_zero"))
        finally:
            sys.stdout.flush()  # here, where a closed pipe can be caught
    except BrokenPipeError:
        _let_go_of_pipes()
        return CLOSED_PIPE


def _file_to_serve(words: Sequence[str]) -> Path | None:
    """Understand `run --config FILE`, as service files write it, and `run FILE`.

    Loading cyclopts is a tenth of the start.
    """
    match words:
        case ["run", "--config", file] | ["run", file] if file and not file.startswith("-"):
            return Path(file)
    return None


def watch_seconds(words: Sequence[str]) -> list[str]:
    """Say how often where `--watch` does not: an option of cyclopts has a value always, or never."""
    said: list[str] = []
    for place, word in enumerate(words):
        if word == "--":
            return [*said, *words[place:]]
        follows = words[place + 1 : place + 2]
        has_value = bool(follows) and follows[0].replace(".", "", 1).isdigit()
        said.append(f"{word}={WATCH_EVERY}" if word == "--watch" and not has_value else word)
    return said


def _let_go_of_pipes() -> None:
    """Have what is still buffered for a reader that has gone go nowhere: Python writes it out at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # it is no file
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def command_line(called: str | None = None, *, in_full: bool = False) -> App:
    """Build the command line; the command that is called describes itself in full, the others in a line.

    in_full: all of them do, which loads them all.
    """
    from cyclopts import App

    app = App(name="shardproxy", help=HELP, version=f"shardproxy {__version__}", backend="trio")
    for name, summary in COMMANDS.items():
        word = f"{name}_" if iskeyword(name) else name.replace("-", "_")
        app.command(
            f"shardproxy.cli.{word}:{word}", name=name, help=None if in_full or name == called else summary
        )
    return app
