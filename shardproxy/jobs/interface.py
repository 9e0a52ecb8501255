"""What a kind of work is given, and gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from shardproxy.failover.interfaces import SlotDesk
from shardproxy.jobs.job import Job


class JobError(Exception):
    """The work cannot be done, or not go on; the text says why, what became of it and what to do."""


class Work(Protocol):
    """One job under way, as its worker sees it. Only the worker writes it while it runs."""

    @property
    def job(self) -> Job: ...

    @property
    def is_paused(self) -> bool: ...

    @property
    def is_aborted(self) -> bool: ...

    @property
    def is_finishing(self) -> bool:
        """An operator has work that would go on for ever brought to its end."""

    @property
    def why_kept_on(self) -> str:
        """Why it was not brought to its end when an operator last asked for it."""

    async def keep_on(self, why: str) -> None:
        """It cannot be brought to its end yet, and goes on as before. Raise StoreUnavailableError."""

    async def wait_resumed(self) -> None:
        """Return while it is not paused, and at once when it is aborted."""

    async def wait_aborted(self) -> None:
        """Return when an operator gives it up."""

    async def save(self, memo: Mapping[str, Any]) -> None:
        """Have the next leader find this: durable when it returns. Raise StoreUnavailableError."""

    def show(self, stage: str, *, what: str = "", done: int = 0, total: int = 0, text: str = "") -> None:
        """Say how far it is; written to the store now and then, never waits."""


class Worker(Protocol):
    """Does one kind of work, at the leader. Called again with its last memo when the leader changed."""

    kind: str

    def check(self, cluster: str, wants: Mapping[str, Any]) -> Mapping[str, Any]:
        """What is asked for, as it can be kept: every field known and of its kind; raise JobError.

        Asked before a plan, and before the job is written down; waits for nobody.
        """

    def can_finish(self, wants: Mapping[str, Any]) -> bool:
        """Whether it goes on until an operator has it brought to its end."""

    async def plan(self, desk: SlotDesk, wants: Mapping[str, Any]) -> Mapping[str, Any]:
        """Say what would be done, as JSON with `lines` for people; raise JobError. Changes nothing."""

    async def run(self, desk: SlotDesk, work: Work) -> Mapping[str, Any]:
        """Do it to the end; return the result, small and as JSON; its `text` is a line for people.

        Raise JobError; when aborted, undo what can be, and return. Who completes it all the same, as it could
        not be undone any more, says `complete` in the result. What else is raised is a bug, or the store that
        is away: it is called again, with its last memo.
        """
