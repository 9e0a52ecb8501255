"""What is counted of logins that are verified here, since the process started.

One object for all clusters, which reloads do not touch: verifiers count in it, and pages show it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class LoginStatistics:
    """Counters by cluster; those of refusals by why, too, in the words of the audit log."""

    accepted: Counter[str] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)  # cluster, why
    throttled: Counter[str] = field(default_factory=Counter)  # ElastiCache's IamAuthenticationThrottling
    expired: Counter[str] = field(default_factory=Counter)  # its IamAuthenticationExpirations
    asked: Counter[str] = field(default_factory=Counter)  # calls to external verifiers
    failed: Counter[str] = field(default_factory=Counter)  # of those, without a usable answer

    def note_session_ended(self, cluster: str) -> None:
        """A client was cut off because its login was too old; the reader of the data plane's events knows."""
        self.expired[cluster] += 1
