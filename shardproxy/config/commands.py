"""Which commands a cluster's clients may use, and under which names.

Names are checked against the command table that comes with the package, a data file of the commands' package.
"""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from shardproxy.config.base import Section, refused

EVERY = "*"


@functools.cache
def _entries() -> Mapping[str, Mapping[str, Any]]:
    """The table's entries, subcommands too, by full name."""
    table = json.loads(resources.files("shardproxy").joinpath("commands", "table.json").read_text())
    return {each["name"]: each for entry in table["commands"] for each in (entry, *entry["subcommands"])}


def known_commands() -> Iterable[str]:
    """The full names of all commands and subcommands that the table has."""
    return _entries().keys()


def _known(name: str) -> str:
    """The full name of a command, however it is written; raise what is wrong with it."""
    full = "|".join(name.lower().replace("|", " ").split())
    if full not in _entries():
        near = difflib.get_close_matches(full, _entries(), n=1, cutoff=0.6)
        raise refused(f"{name} is not a command", f"did you mean {near[0]}?" if near else None)
    return full


def _restricted(name: str) -> str:
    if name == EVERY:
        return name
    full = _known(name)
    entry = _entries()[full]
    if any(each.get("restricted") for each in (entry, *entry["subcommands"])):
        return full
    if entry["route"] == "refused":
        raise refused(f"{full} cannot be allowed: {entry['note']}")
    raise refused(f"{full} is allowed as it is", "allow lists what is refused otherwise, such as config|set")


def _command(name: str) -> str:
    full = _known(name)
    if "|" in full:
        raise refused(f"{full} is a subcommand, and only whole commands can be renamed")
    return full


def _new_name(name: str) -> str:
    if not name or not name.isascii() or not name.isprintable() or " " in name or "|" in name:
        raise refused(
            "is not a name for a command: use ASCII characters, no space and no |",
            "to refuse a command, list it under deny" if not name else None,
        )
    return name.lower()


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Text = Annotated[str, Field(max_length=100)]
Names = Annotated[
    tuple[Annotated[Text, AfterValidator(_known)], ...], BeforeValidator(_as_list, list[str] | str)
]
Allowed = Annotated[
    tuple[Annotated[Text, AfterValidator(_restricted)], ...], BeforeValidator(_as_list, list[str] | str)
]

Renames = dict[Annotated[Text, AfterValidator(_command)], Annotated[Text, AfterValidator(_new_name)]]


class Commands(Section):
    """Which commands clients may use. A subcommand is written `parent|sub`; a parent is all of them.

    What a script calls is run by the engine: nothing here reaches into it.
    """

    deny: Names = ()
    """Commands that are refused when a client sends them. A script may still call them: against that deny
    `eval`, `evalsha` and `fcall` too, or give the user of `node_auth` an ACL in the engines without them."""
    allow: Allowed = ()
    """Restricted commands that are not refused, such as `config|set` and `debug`; `*` is all of them."""
    rename: Renames = Field(default_factory=dict)
    """Commands that clients know under another name only."""

    @model_validator(mode="after")
    def _names_are_free(self) -> Self:
        taken: dict[str, str] = {}
        for old, new in self.rename.items():
            if (other := taken.setdefault(new, old)) != old:
                raise refused(f"{other} and {old} are both renamed to {new}", "choose another name")
            if new in _entries() and new not in self.rename:
                raise refused(f"{old} is renamed to {new}, which is a command itself", "choose another name")
        return self
