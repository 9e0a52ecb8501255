"""Classes of replies to a probe. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from shardproxy.health.slow import SlowCall
from shardproxy.model import Address
from shardproxy.model.health import EngineLimits
from shardproxy.model.replication import Replication, Server
from shardproxy.model.vitals import Vitals


class Outcome(enum.Enum):
    PONG = "answers"
    WAITING = "waits for its primary"  # -MASTERDOWN
    LOADING = "is loading its data"
    BUSY = "runs a long script"
    MISCONF = "refuses writes: it cannot save to disk"
    DENIED = "refuses our credentials"
    ERROR = "answers with an error"
    REFUSED = "refuses connections"  # ECONNREFUSED: nothing listens there
    LOST = "cannot be reached"
    TIMEOUT = "does not answer"


# The process is there and turns its event loop.
ALIVE = frozenset(
    {
        Outcome.PONG,
        Outcome.WAITING,
        Outcome.LOADING,
        Outcome.BUSY,
        Outcome.MISCONF,
        Outcome.DENIED,
        Outcome.ERROR,
    }
)

_CODES = {
    "LOADING": Outcome.LOADING,
    "MASTERDOWN": Outcome.WAITING,
    "MISCONF": Outcome.MISCONF,
    "BUSY": Outcome.BUSY,
    "NOAUTH": Outcome.DENIED,
    "WRONGPASS": Outcome.DENIED,
    "NOPERM": Outcome.DENIED,
}

# AUTH on a node without a password, or with an engine before ACLs: ERR, but as much our configuration.
_DENIED_TEXTS = ("ERR AUTH", "ERR invalid password", "ERR Client sent AUTH")


def outcome_of_error(text: str) -> Outcome:
    """The class of an error reply."""
    if text.startswith(_DENIED_TEXTS):
        return Outcome.DENIED
    return _CODES.get(text.partition(" ")[0], Outcome.ERROR)


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What came of one question. Times are trio's."""

    asked_at: float
    at: float
    outcome: Outcome
    detail: str = ""
    is_unreached: bool = False  # nor did its host acknowledge that it was asked
    was_closed: bool = False  # the node ended our connection since the result before
    connection: int | None = None  # which of the link's it was: another one may be to another process
    replication: Replication | None = None
    server: Server | None = None
    ping_period: float | None = None  # how often it pings its replicas
    manager: str | None = None  # another that manages its replication
    is_surveyed: bool = False
    named: str = ""  # what our connection is called since, when surveyed
    peer: str = ""  # the IP address it was reached at
    announced: Address | None = None  # as it tells its primary, when surveyed
    slow: tuple[SlowCall, ...] = ()  # what took it long of late, when surveyed
    limits: EngineLimits | None = None  # likewise, where it tells them
    vitals: Vitals | None = None  # likewise

    @property
    def why(self) -> str:
        return f"{self.outcome.value} ({self.detail})" if self.detail else self.outcome.value
