"""Writes the README.md beside it: every command, who serves it or why nobody does, from the table.

Run `python -m shardproxy.commands.describe > shardproxy/commands/README.md` after a change of the table.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib import resources

from shardproxy.commands import acl
from shardproxy.commands.handlers import HANDLERS
from shardproxy.commands.table import PACKAGE, Command, Table

ROUTES = {
    "local": "the proxy, in the data plane",
    "offload": "the proxy, in the control plane",
    "shard": "the shard of its keys",
    "database": "the shard of its keys; between databases on clusters of one shard only",
    "split": "the shards of its keys at once; replies joined",
    "any": "any shard",
    "transaction": "queued in the proxy; at EXEC the shard of its keys",
    "pubsub": "the proxy, fanned out from one subscription per channel",
    "block": "the shard of its keys, while it waits on a connection of its own",
    "refused": "nobody",
    "later": "nobody yet",
}
HEAD = """# Commands

Every command of Redis {version}, generated from the command table the proxy routes by. Newer commands and
those of modules are learned from the nodes. All keys of a command share a slot, unless replies are joined or
the cluster has one shard: it asks for no slots, as one Redis does not.
"""
ALLOWABLE = "; to every node where the config allows it"
OWN_USERS = "; of the proxy's users where the config allows it"


def page(table: Table) -> str:
    """The page, in Markdown."""
    groups: dict[str, list[Command]] = defaultdict(list)
    docs = json.loads(resources.files(PACKAGE).joinpath("docs.json").read_text())
    for name, command in table.commands.items():
        groups[docs[name]["group"]].append(command)
    parts = [HEAD.format(version=table.version)]
    for group in sorted(groups):
        rows = "".join(row for command in groups[group] for row in _rows(command))
        parts.append(f"## {group}\n\n| command | served by |\n|---|---|\n{rows}")
    return "\n".join(parts)


def _rows(command: Command) -> Iterator[str]:
    for each in command.subcommands or (command,):
        served = ROUTES[each.route]
        if each.note:
            served = (
                f"{served}: {each.note}" if each.route == "refused" else f"{served}; not all: {each.note}"
            )
            if each.route == "refused" and each.name in HANDLERS:
                served += OWN_USERS if each.name in acl.CHANGES else ALLOWABLE
        yield f"| {each.name.replace('|', ' ').upper()} | {served} |\n"


if __name__ == "__main__":
    sys.stdout.write(page(Table.load()))
