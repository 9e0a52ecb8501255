"""What is wrong with a config file, and where."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to correct. Line and column count from 1; 0 means the file as a whole."""

    line: int
    column: int
    path: str  # clusters.sessions.shards[1].slots
    message: str
    hint: str | None = None

    def text(self, source: str) -> str:
        """Say it in one line, as compilers do, so that editors can jump to it."""
        where = f"{source}:{self.line}:{self.column}" if self.line else source
        what = f"{self.path}: {self.message}" if self.path else self.message
        return f"{where}: {what}" + (f" ({self.hint})" if self.hint else "")


class ConfigError(Exception):
    """A config that cannot be used: every problem found, once each, in the order of the file."""

    def __init__(self, source: str, problems: Iterable[Problem]) -> None:
        self.source = source
        self.problems = tuple(sorted(set(problems), key=lambda p: (p.line, p.column, p.path, p.message)))
        super().__init__(self.source, self.problems)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Every problem in a line of its own."""
        return tuple(problem.text(self.source) for problem in self.problems)

    def __str__(self) -> str:
        return "\n".join(self.reasons)
