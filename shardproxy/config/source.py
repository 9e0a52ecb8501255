"""The text that settings stand in, for whoever finds something wrong with them only later."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from shardproxy.config.checks import Path as Place
from shardproxy.config.checks import show
from shardproxy.config.document import Document
from shardproxy.config.errors import ConfigError, Problem


@dataclass(frozen=True, slots=True)
class Source:
    """A file by its name, and where in it every value stands.

    All are equal: where something stands is no part of what it says.
    """

    name: str = field(default="config", compare=False)
    _document: Document = field(default_factory=Document, repr=False, compare=False)

    @property
    def directory(self) -> Path:
        """From where it names other files."""
        return Path(self.name).parent

    def problem(self, path: Place, message: str, hint: str | None = None) -> Problem:
        """Something wrong with the value at that path."""
        place = self._document.place(path)
        return Problem(place.line, place.column, show(path), message, hint)

    def error(self, problems: Iterable[Problem]) -> ConfigError:
        return ConfigError(self.name, problems)
