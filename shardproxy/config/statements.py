"""SQL statements with named parameters: where `:name` stands for a value. Knows nothing of any database.

What is quoted, in a comment or a cast (`::int`) names no parameter.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

_PIECES = re.compile(
    r"""
      \b[eE]'(?:[^'\\]|\\.|'')*'         # text in which a backslash escapes
    | '(?:[^']|'')*'                    # and in which it stands for itself
    | "(?:[^"]|"")*"                    # a name
    | `[^`]*`
    | \$(?P<tag>(?:[A-Za-z_]\w*)?)\$.*?\$(?P=tag)\$
    | --[^\n]*
    | /\*.*?\*/
    | ::
    | :(?P<name>[A-Za-z_]\w*)
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement in pieces: texts at even places, names of parameters between them."""

    pieces: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of its parameters, each once, in their order."""
        return tuple(dict.fromkeys(self.pieces[1::2]))

    def written(self, text: Callable[[str], str], parameter: Callable[[str], str]) -> str:
        """The statement with its texts and parameters as a driver wants them written."""
        return "".join(parameter(p) if i % 2 else text(p) for i, p in enumerate(self.pieces))


def read_statement(sql: str) -> Statement:
    """Find the parameters of a statement."""
    pieces, at = [], 0
    for found in _PIECES.finditer(sql):
        if found["name"] is not None:
            pieces += [sql[at : found.start()], found["name"]]
            at = found.end()
    return Statement((*pieces, sql[at:]))
