"""What a cluster's config makes of a command: denied, allowed, renamed; as the data plane does. Pure."""

from __future__ import annotations

from dataclasses import replace

from shardproxy.commands.table import Command, Table, lower
from shardproxy.config import Commands

DENIED = "denied by commands.deny"
EVERY = "*"


def command_under(table: Table, config: Commands, args: tuple[bytes, ...]) -> Command | None:
    """The command that a cluster's clients mean by a request, its route as in that cluster; None: unknown.

    A container that has no such subcommand is itself.
    """
    name = lower(args[0])
    if name in config.rename:
        return None
    real = next((old for old, new in config.rename.items() if new == name), name)
    found = table.find((real.encode("utf-8", "surrogateescape"), *args[1:]))
    return _overlaid(found, config) if found is not None else None


def _overlaid(command: Command, config: Commands) -> Command:
    names = {command.name, command.name.partition("|")[0]}
    if names & set(config.deny):
        return replace(command, route="refused", note=DENIED)
    if command.is_restricted and (names & set(config.allow) or EVERY in config.allow):
        return replace(command, route=_allowed(command))
    return command


def _allowed(command: Command) -> str:
    """Who serves a restricted command once it is allowed."""
    if command.keys == "none":
        return "offload"
    return "block" if "blocking" in command.flags else "shard"
