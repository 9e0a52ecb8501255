"""Redis' access rules over a command table: checked, changed, described and tried out as the workers do."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from shardproxy.config.commands import known_commands
from shardproxy.dataplane._native import Acl

UNKNOWN = "Unknown command or category name in ACL"

# Of engines newer than the command table, which is learned from them when somebody asks; others are mistakes.
# Commands of modules are told by their dot.
# fmt: off
NEWER = frozenset({
    "waitaof", "cluster|myshardid", "cluster|slot-stats", "cluster|migration", "script|show", "client|capa",
    "client|import-source", "hexpire", "hexpireat", "hexpiretime", "hpersist", "hpexpire", "hpexpireat",
    "hpexpiretime", "hpttl", "httl", "hgetdel", "hgetex", "hsetex", "vadd", "vcard", "vdim", "vemb",
    "vgetattr", "vinfo", "vismember", "vlinks", "vrandmember", "vrange", "vrem", "vsetattr", "vsim",
    "xackdel", "xdelex", "xcfgset", "msetex", "delex", "digest", "delifeq", "commandlog", "hotkeys",
    "@search", "@json", "@timeseries", "@bloom", "@cuckoo", "@cms", "@topk", "@tdigest",
})
# fmt: on


class RuleError(Exception):
    """What is wrong with rules, in Redis' words."""

    def __init__(self, why: str, hint: str | None = None) -> None:
        super().__init__(why)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Described:
    """Rules of a user, taken apart as ACL GETUSER shows them."""

    is_enabled: bool
    is_nopass: bool
    flags: tuple[str, ...]
    passwords: tuple[str, ...]
    commands: str
    keys: str
    channels: str
    selectors: tuple[dict[str, str], ...]
    line: str  # all of it, as in ACL LIST
    rules: str  # what of it is not about logging in


class Rules:
    """Rules are one line as in an ACL file, for a user that is new: disabled, and allowed nothing."""

    def __init__(self, table: bytes) -> None:
        """Take a command table (JSON)."""
        self._acl = Acl(table)

    def check(self, line: str) -> None:
        """Raise RuleError for what Redis would refuse, no password in it."""
        if (why := self._acl.check(line, keep_unknown=True)) is not None:
            raise RuleError(why.removeprefix("Error in ACL SETUSER modifier "))
        for name in self._acl.unknown(line):
            if not may_be_learned(name):
                raise RuleError(f"'{name}': {UNKNOWN}", self._near(name))

    def _near(self, name: str) -> str | None:
        known = [f"@{c}" for c in self._acl.categories()] if name.startswith("@") else known_commands()
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        return f"did you mean {near[0]}?" if near else None

    def apply(self, line: str, modifiers: Sequence[bytes]) -> str:
        """What ACL SETUSER makes of a user; raise RuleError with Redis' text, which may quote a password."""
        try:
            changed = self._acl.apply(line, list(modifiers), keep_unknown=True)
        except ValueError as error:
            raise RuleError(str(error)) from error
        before = set(self._acl.unknown(line))
        for name in self._acl.unknown(changed):
            if name not in before and not may_be_learned(name):
                word = _mentions(name, modifiers)
                raise RuleError(f"Error in ACL SETUSER modifier '{word}': {UNKNOWN}")
        return changed

    def describe(self, line: str, *, ordered: bool = True) -> Described:
        """Take rules apart; raise ValueError for what is none."""
        found: dict[str, Any] = self._acl.describe(line, ordered)
        return Described(
            is_enabled=found["enabled"],
            is_nopass=found["nopass"],
            flags=tuple(found["flags"]),
            passwords=tuple(found["passwords"]),
            commands=found["commands"],
            keys=found["keys"],
            channels=found["channels"],
            selectors=tuple(found["selectors"]),
            line=found["line"],
            rules=found["rules"],
        )

    def why_denied(self, line: str, args: Sequence[bytes]) -> tuple[str, bytes] | None:
        """What such a user is denied of a request: command, key or channel, and its name.

        Raise RuleError for an unknown command or a wrong number of arguments.
        """
        try:
            return self._acl.dryrun(line, list(args))
        except ValueError as error:
            raise RuleError(str(error)) from error

    def categories(self) -> list[str]:
        return self._acl.categories()

    def commands(self, category: str) -> list[str] | None:
        """Those of a category; None if there is no such category."""
        return self._acl.commands(category)


@functools.cache
def rules_of_package() -> Rules:
    """By the table that comes with the package."""
    return Rules(resources.files("shardproxy").joinpath("commands", "table.json").read_bytes())


def may_be_learned(name: str) -> bool:
    """Whether an engine may have a command or category that the table lacks."""
    lower = name.lower()
    return "." in lower or lower in NEWER or lower.partition("|")[0] in NEWER


def _mentions(name: str, modifiers: Iterable[bytes]) -> str:
    """The modifier that a name comes from."""
    words = (word for modifier in modifiers for word in modifier.decode("utf-8", "replace").split())
    return next((word for word in words if word.lstrip("(+-").rstrip(")").lower() == name.lower()), name)
