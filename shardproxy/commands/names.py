"""The table under the names that a cluster's clients use: its config may have renamed commands. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType

from shardproxy.commands.call import Call
from shardproxy.commands.table import Command, Table


@dataclass(frozen=True, slots=True, eq=False)
class Names:
    """A table as clients see it, and what its commands are really called."""

    table: Table
    real: Mapping[str, str]  # by the name clients use, of what is renamed

    def real_of(self, name: str) -> str | None:
        """The table's name for a command or subcommand; None when clients know none of that name."""
        container, bar, sub = name.partition("|")
        if container in self.real:
            return f"{self.real[container]}{bar}{sub}"
        return name if self.table.get(container) is not None else None


def names_of(call: Call) -> Names:
    return _names(call.table, tuple(call.settings.commands.rename.items()))


@lru_cache(maxsize=64)  # one per cluster, and the table before the latest
def _names(table: Table, renames: tuple[tuple[str, str], ...]) -> Names:
    if not renames:
        return Names(table, MappingProxyType({}))
    new = {old: name for old, name in renames if old in table.commands}
    commands = (_renamed(command, new.get(command.name)) for command in table.commands.values())
    seen = replace(table, commands={command.name: command for command in commands})
    return Names(seen, MappingProxyType({name: old for old, name in new.items()}))


def _renamed(command: Command, name: str | None) -> Command:
    if name is None:
        return command
    subcommands = (replace(sub, name=f"{name}|{sub.name.partition('|')[2]}") for sub in command.subcommands)
    return replace(command, name=name, subcommands=tuple(subcommands))
