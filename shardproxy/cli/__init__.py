"""The command line: one file per subcommand, each imported only when it is called."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import App

from shardproxy import __version__

HELP = """One endpoint over many shards of unmodified Redis or memcached.

Try it with `shardproxy demo`; then write a config, check it, and run it.
"""

# Subcommand: what it does. The function of the same name in the file of the same name does it.
COMMANDS = {
    "demo": "Start a local fleet of shards, and the proxy in front of it.",
    "run": "Serve the clusters of a config file.",
    "status": "Show the shards and nodes of a running proxy.",
    "topology": "Show what a running proxy routes by.",
    "events": "Show what happened to its shards.",
    "switchover": "Hand a shard over to a replica.",
    "failover": "Try or force the failover of a shard.",
    "pause": "Have primaries not replaced by themselves.",
    "resume": "Have them replaced again.",
    "check": "Say whether a config file is right, or all that is wrong with it.",
    "config": "Help to write a config file.",
    "version": "Show the versions of what is installed.",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (default: this process's); return the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    called = next((word for word in words if not word.startswith("-")), None)
    return int(command_line(called)(words, result_action="return_int_as_exit_code_else_zero"))


def command_line(called: str | None = None) -> App:
    """Build the command line; the command that is called describes itself in full, the others in a line."""
    app = App(name="shardproxy", help=HELP, version=f"shardproxy {__version__}", backend="trio")
    for name, summary in COMMANDS.items():
        app.command(f"shardproxy.cli.{name}:{name}", name=name, help=None if name == called else summary)
    return app
