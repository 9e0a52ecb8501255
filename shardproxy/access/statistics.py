"""What is counted of logins that are verified here, since the process started.

Sessions that end are counted by the data plane, which ends them.

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
    asked: Counter[str] = field(default_factory=Counter)  # calls to external verifiers
    failed: Counter[str] = field(default_factory=Counter)  # of those, without a usable answer
