"""The table of cases: blocks of commands in text files, each run in order on one connection.

    # the title of a block
    SET k v
    @ unordered: a set's order follows the engine's hash seed
    SMEMBERS s

`@ how: reason` says how the next command's replies are compared, when not byte for byte:

    @ unordered     elements sorted                        @ shape      types and lengths only
    @ kind          the first byte only                    @ nested     elements sorted, on all levels
    @ fields        names of a map's (or flat map's) fields
    @ proxy /re/    the proxy's reply matches; the engine's is not looked at, for it cannot be the same
    @ refused       the proxy refuses, for the reason of its table; the engine is not asked
    @ replies N     so many replies instead of one, compared byte for byte

Arguments are quoted as in a shell; a backslash in one begins an escape as in Python.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.protocol.raw import Value

CASES = Path(__file__).parent / "cases"
DIRECTIVE = re.compile(r"@ (?P<how>\w+)(?: /(?P<pattern>.*)/| (?P<count>\d+))?: (?P<reason>.+)")
COUNTED = {b"subscribe", b"psubscribe", b"ssubscribe", b"unsubscribe", b"punsubscribe", b"sunsubscribe"}


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a block."""

    args: tuple[bytes, ...]
    how: str = "same"
    pattern: str | None = None
    replies: int = 1
    reason: str | None = None

    def __str__(self) -> str:
        return " ".join(repr(arg)[2:-1] for arg in self.args)


@dataclass(frozen=True, slots=True)
class Block:
    """Commands that are run one after the other on one connection, beginning with no keys."""

    name: str
    steps: tuple[Step, ...]


def shape(value: Value) -> Value:
    if value.items:
        return Value(value.kind, value.text, tuple(shape(item) for item in value.items))
    return Value(value.kind, b"-" if value.kind in (b"*", b"~", b"%") else b"")


def unordered(value: Value) -> Value:
    if value.kind != b"%":
        return Value(value.kind, value.text, tuple(sorted(value.items)))
    pairs = sorted(zip(value.items[::2], value.items[1::2], strict=True))
    return Value(value.kind, value.text, tuple(item for pair in pairs for item in pair))


def nested(value: Value) -> Value:
    return unordered(Value(value.kind, value.text, tuple(nested(item) for item in value.items)))


HOW: Mapping[str, Callable[[Value], Value]] = {
    "same": lambda value: value,
    "replies": lambda value: value,
    "unordered": unordered,
    "nested": nested,
    "shape": shape,
    "kind": lambda value: Value(value.kind, b""),
    "fields": lambda value: Value(value.kind, b"", tuple(sorted(value.items[::2]))),
}
PROXY_ONLY = ("proxy", "refused")


def argument(word: str) -> bytes:
    return (word.encode().decode("unicode_escape") if "\\" in word else word).encode("latin-1")


def step_of(line: str, directive: re.Match[str] | None) -> Step:
    args = tuple(argument(word) for word in shlex.split(line.replace("\\", "\\\\")))
    replies = max(1, len(args) - 1) if args[0].lower() in COUNTED else 1
    if directive is None:
        return Step(args, replies=replies)
    how, pattern, reason = directive["how"], directive["pattern"], directive["reason"]
    assert how in HOW or how in PROXY_ONLY, f"unknown: {directive[0]}"
    assert (how == "proxy") == (pattern is not None), f"a pattern is for `proxy`: {directive[0]}"
    if directive["count"] is not None:
        replies = int(directive["count"])
    return Step(args, how, pattern, replies, reason)


def read(file: Path) -> Iterator[Block]:
    name, steps, directive = "", list[Step](), None
    for line in [*file.read_text().splitlines(), "#"]:
        if line.startswith("#"):
            if steps:
                yield Block(f"{file.stem}: {name}", tuple(steps))
            name, steps = line.removeprefix("#").strip(), []
        elif line.startswith("@"):
            assert directive is None, f"{file}: two directives before {line}"
            directive = DIRECTIVE.fullmatch(line)
            assert directive is not None, f"{file}: cannot read {line}"
        elif line.strip():
            steps.append(step_of(line, directive))
            directive = None


BLOCKS = tuple(block for file in sorted(CASES.glob("*.txt")) for block in read(file))
