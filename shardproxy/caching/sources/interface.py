"""What every source is: it loads what a key stands for and, if a database, takes what was written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from shardproxy.caching.rules import Rule

Operation = Literal["upsert", "delete", "wait"]  # wait: for whoever writes the key, and do nothing
Parts = Mapping[str, str]  # of a key, by their names; `key` is the key itself
Given = Mapping[str, Any]  # what a client writes: str, bytes, int, float, bool or None, by parameter


@dataclass(frozen=True, slots=True)
class Rows:
    """What a statement answered: at least one row; columns may share a name."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, slots=True)
class Body:
    """What a server answered."""

    content: bytes


@dataclass(frozen=True, slots=True)
class Value:
    """What a function returned; never None."""

    value: Any


Loaded = Rows | Body | Value


class SourceError(Exception):
    """Nothing was loaded, or written. The text is for clients: one line, without secrets or addresses.

    `detail` is for operators; without secrets, too.
    """

    def __init__(self, text: str, detail: str | None = None) -> None:
        super().__init__(text)
        self.detail = detail or text


class SourceRefusedError(SourceError):
    """The source, or the rule, does not take this value, and never will. The text is the reason."""


class SourceUnfitError(SourceError):
    """It answers, and cannot do what the rule says, whatever the value. The text is its reason.

    No table, no column, no permission: an operator mends that, as by migrating.
    """


class SourceDownError(SourceError):
    """It does not answer, or has just been left alone for failing."""


class SourceBusyError(SourceError):
    """As much is asked of it as may be, or it could not now (a deadlock): nothing was done."""


class SourceSlowError(SourceError):
    """It did not answer in time. Whether a commit happened is unknown when commit() raises this."""


class Writing(Protocol):
    """A statement that was executed and is not yet committed; it holds its locks until it is."""

    async def commit(self) -> None:
        """Make it last.

        SourceRefusedError: it was not (a deferred constraint). SourceDownError, SourceSlowError: unknown.
        """


WriteOf = tuple["Rule", Parts, Operation, Given]


class NotWritten(AbstractAsyncContextManager[Writing]):
    """What writing to a source begins with that takes no writes; the config has no rule that does."""

    def __init__(self, what: str) -> None:
        self._what = what

    async def __aenter__(self) -> Writing:
        raise SourceRefusedError(f"nothing is written to {self._what}")

    async def __aexit__(self, *error: object) -> None:
        pass


class Source(Protocol):
    """Safe to be asked by many tasks at once; bounded in all it does."""

    async def load(self, rule: Rule, parts: Parts) -> Loaded | None:
        """Fetch what the key of these parts stands for; None when there is none. Raise SourceError."""

    def writing(
        self, rule: Rule, parts: Parts, op: Operation, given: Given
    ) -> AbstractAsyncContextManager[Writing]:
        """Execute the rule's statement; raise SourceError on entry when that fails. Not committed: undone."""

    def writing_all(self, writes: Sequence[WriteOf]) -> AbstractAsyncContextManager[Writing]:
        """The same of many in one transaction, in their order: all of them, or none."""
