"""The command table: what every command is, where its keys are, who serves it. Learning makes a new one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Self

PACKAGE = "shardproxy.commands"


@dataclass(frozen=True, slots=True)
class Command:
    """A command or subcommand, in COMMAND's terms, and its route."""

    name: str  # of a subcommand: `container|subcommand`
    arity: int
    flags: tuple[str, ...]
    first: int
    last: int
    step: int
    categories: tuple[str, ...]
    tips: tuple[str, ...]
    key_specs: tuple[Mapping[str, Any], ...]
    route: str
    keys: str
    join: str | None
    note: str | None
    is_slow: bool = False  # an engine may need seconds for it
    subcommands: tuple[Command, ...] = ()
    is_restricted: bool = False  # refused unless the config allows it

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Take an entry of table.json."""
        return cls(
            name=values["name"],
            arity=values["arity"],
            flags=tuple(values["flags"]),
            first=values["first"],
            last=values["last"],
            step=values["step"],
            categories=tuple(values["categories"]),
            tips=tuple(values["tips"]),
            key_specs=tuple(values["key_specs"]),
            route=values["route"],
            keys=values["keys"],
            join=values["join"],
            note=values["note"],
            is_slow=values.get("slow", False),
            subcommands=tuple(cls.read(sub) for sub in values["subcommands"]),
            is_restricted=values.get("restricted", False),
        )

    def is_arity(self, count: int) -> bool:
        """Whether so many arguments, the name included, are right."""
        return count == self.arity if self.arity >= 0 else count >= -self.arity

    def subcommand(self, name: str) -> Command | None:
        """The subcommand of that full name."""
        return next((sub for sub in self.subcommands if sub.name == name), None)


@dataclass(
    frozen=True, slots=True, eq=False
)  # tables are told apart by identity: what is made of one is kept
class Table:
    """All commands, by lower-case name."""

    engine: str
    version: str
    commands: Mapping[str, Command]
    learned: frozenset[str] = frozenset()
    _entries: Mapping[str, Mapping[str, Any]] = field(repr=False, default_factory=dict)  # as in table.json

    @classmethod
    def load(cls) -> Self:
        """Read the table that comes with the package."""
        return cls.parse(resources.files(PACKAGE).joinpath("table.json").read_text())

    @classmethod
    def parse(cls, text: str) -> Self:
        values = json.loads(text)
        entries = {entry["name"]: entry for entry in values["commands"]}
        commands = {name: Command.read(entry) for name, entry in entries.items()}
        return cls(values["engine"], values["version"], commands, frozenset(), entries)

    def encode(self) -> bytes:
        """The table as the data plane reads it."""
        values = {"engine": self.engine, "version": self.version, "commands": list(self._entries.values())}
        return json.dumps(values, separators=(",", ":")).encode()

    def with_command(self, entry: Mapping[str, Any]) -> Self:
        """The table with one more command behind the others, an entry as in table.json."""
        command = Command.read(entry)
        return type(self)(
            self.engine,
            self.version,
            {**self.commands, command.name: command},
            self.learned | {command.name},
            {**self._entries, command.name: entry},
        )

    def get(self, name: str) -> Command | None:
        """The command of that full name (`get`, `client|list`), lower case."""
        container, bar, _ = name.partition("|")
        command = self.commands.get(container)
        return command.subcommand(name) if command and bar else command

    def find(self, args: Sequence[bytes]) -> Command | None:
        """What a request runs; the container itself where its subcommand is unknown."""
        command = self.commands.get(lower(args[0]))
        if command is None or not command.subcommands or len(args) < 2:
            return command
        return command.subcommand(f"{command.name}|{lower(args[1])}") or command

    def all(self) -> Iterator[Command]:
        """Every command, each followed by its subcommands."""
        for command in self.commands.values():
            yield command
            yield from command.subcommands


def lower(word: bytes) -> str:
    """A word of a request as a name: ASCII lower case; other bytes stay themselves."""
    return word.lower().decode("utf-8", "surrogateescape")
