"""What happened, for people: the last thousand, with ElastiCache's names where it has one."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from shardproxy.model.replication import ShardKey
from shardproxy.store.journal import CAPACITY, Journal

log = structlog.get_logger()


class EventName(enum.Enum):
    FAILOVER_STARTED = "FailoverStarted"
    FAILOVER_COMPLETE = "FailoverComplete"  # ElastiCache's
    FAILOVER_DELAYED = "FailoverDelayed"
    TEST_FAILOVER_CALLED = "TestFailoverAPICalled"  # ElastiCache's
    SWITCHOVER_COMPLETE = "SwitchoverComplete"
    SWITCHOVER_FAILED = "SwitchoverFailed"
    PRIMARY_ADOPTED = "PrimaryAdopted"
    NODES_REBOOTED = "CacheNodesRebooted"  # ElastiCache's
    NODE_ADDED = "AddCacheNodeComplete"  # ElastiCache's
    NODE_RECOVERED = "CacheNodeRecovered"
    AUTOMATIC_FAILOVER_PAUSED = "AutomaticFailoverPaused"
    AUTOMATIC_FAILOVER_RESUMED = "AutomaticFailoverResumed"
    ALARM = "Alarm"
    ALARM_CLEARED = "AlarmCleared"

    @property
    def words(self) -> str:
        """What a log line is headed with."""
        return self.name.replace("_", " ").lower()


@dataclass(frozen=True, slots=True)
class Event:
    """`number` grows by one with every event, so that a reader can tell what it missed."""

    number: int
    time: datetime  # for display; decides nothing
    name: EventName
    cluster: str
    shard: int | None
    message: str


@dataclass(frozen=True, slots=True)
class Total:
    """How often something happened, and how many seconds it took in all."""

    count: int = 0
    seconds: float = 0.0


class EventLog:
    """Keeps the newest events, in a journal those of before as well."""

    def __init__(self, journal: Journal | None = None) -> None:
        self._journal = journal or Journal()
        self._events: deque[Event] = deque(_read(self._journal), maxlen=CAPACITY)
        self._next = self._events[-1].number + 1 if self._events else 1
        self.totals: dict[tuple[str, EventName], Total] = {}  # by cluster, since the start
        self.alarms: dict[ShardKey, str] = {}  # that stand, of shards that are tended or were

    def add(self, name: EventName, key: ShardKey, message: str, *, seconds: float = 0.0) -> None:
        """Remember and log an event of a shard."""
        total = self.totals.get((key.cluster, name), Total())
        self.totals[key.cluster, name] = Total(total.count + 1, total.seconds + seconds)
        event = Event(self._next, datetime.now(UTC), name, key.cluster, key.index, message)
        self._next += 1
        self._events.append(event)
        self._journal.add(_values(event))
        if name is EventName.ALARM:
            self.alarms[key] = message
        elif name is EventName.ALARM_CLEARED:
            self.alarms.pop(key, None)
        say = log.warning if name in LOUD else log.info
        say(name.words, shard=str(key), why=message)

    def latest(self, count: int = CAPACITY) -> Sequence[Event]:
        """The newest events, the oldest of them first."""
        return tuple(self._events)[-count:] if count > 0 else ()


def _values(event: Event) -> dict[str, Any]:
    return {**asdict(event), "time": event.time.isoformat(), "name": event.name.value}


def _read(journal: Journal) -> Iterator[Event]:
    """The events of before; a line that is none is left out."""
    for values in journal:
        try:
            time, name = datetime.fromisoformat(values["time"]), EventName(values["name"])
            yield Event(**{**values, "time": time, "name": name})
        except (KeyError, TypeError, ValueError):
            continue


LOUD = frozenset(
    {
        EventName.ALARM,
        EventName.FAILOVER_STARTED,
        EventName.FAILOVER_DELAYED,
        EventName.SWITCHOVER_FAILED,
        EventName.NODES_REBOOTED,
    }
)
