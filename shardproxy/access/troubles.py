"""What the log is told of a service that is asked: changes, and of each kind one line a minute at most.

Clients can make a service fail and answer in turns; metrics count all of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import structlog
import trio

PAUSE = 60.0  # seconds until the log is told of the same kind again

log = structlog.get_logger()


@dataclass(slots=True)
class VerifierLog:
    """Remembers what the log knows."""

    _trouble: str | None = None
    _told: dict[str, float] = field(default_factory=dict)  # kind -> when

    def failed(self, cluster: str, why: str) -> None:
        if self._trouble != why and self._is_due("failed"):
            self._trouble = why
            log.error("logins refused, as the verifier fails", cluster=cluster, why=why)

    def answered(self, cluster: str) -> None:
        if self._trouble is not None and self._is_due("answered"):
            self._trouble = None
            log.info("verifier answers again", cluster=cluster)

    def crowded(self, cluster: str) -> None:
        if self._is_due("crowded"):
            log.warning("logins refused, as too many wait for the verifier", cluster=cluster)

    def _is_due(self, kind: str) -> bool:
        now = trio.current_time()
        is_due = now >= self._told.get(kind, float("-inf")) + PAUSE
        if is_due:
            self._told[kind] = now
        return is_due
