"""One thing that was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """How it is, the worst last."""

    OK = "ok"
    WARN = "warn"  # works, and will hurt under load or when something fails
    BAD = "bad"  # does not work, or not as the config promises


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at and found; where it is not ok, why that matters and the command that mends it."""

    about: str  # machine, config, store, or "CLUSTER HOST:PORT"
    check: str
    verdict: Verdict
    found: str
    why: str = ""
    mend: str = ""


def ok(about: str, check: str, found: str) -> Finding:
    return Finding(about, check, Verdict.OK, found)


def warn(about: str, check: str, found: str, why: str, mend: str) -> Finding:
    return Finding(about, check, Verdict.WARN, found, why, mend)


def bad(about: str, check: str, found: str, why: str, mend: str) -> Finding:
    return Finding(about, check, Verdict.BAD, found, why, mend)
