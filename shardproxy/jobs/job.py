"""A job as it stands in the store. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class JobState(enum.Enum):
    ASKED = "asked"  # nobody does it yet
    RUNNING = "running"
    FINISHING = "finishing"  # an operator has work that goes on for ever brought to its end
    PAUSED = "paused"  # an operator holds it; what is there stays as it is
    ABORTING = "aborting"  # an operator gave it up: what can be undone is
    DONE = "done"
    FAILED = "failed"  # `why` says why, and what became of the rest
    ABORTED = "aborted"

    @property
    def is_over(self) -> bool:
        return self in (JobState.DONE, JobState.FAILED, JobState.ABORTED)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is; `total` 0 = nobody knows."""

    stage: str = ""  # a word or two: "copying", "catching up"
    what: str = ""  # what is counted: "keys", "bytes", "slots"
    done: int = 0
    total: int = 0
    text: str = ""  # a line for people


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of long work on one cluster; at most one of them is not over."""

    id: str
    cluster: str
    kind: str  # reshard | backup | restore | import ...
    wants: Mapping[str, Any]  # what was asked for, as JSON; its kind knows. Everybody is shown it: no secrets
    state: JobState = JobState.ASKED
    by: str = ""  # the member that does it
    asked_at: float = 0.0  # seconds since 1970
    began_at: float = 0.0
    ended_at: float = 0.0
    progress: Progress = Progress()
    why: str = ""
    memo: Mapping[str, Any] = field(default_factory=dict)  # what its kind has to know after a crash
    result: Mapping[str, Any] = field(default_factory=dict)
