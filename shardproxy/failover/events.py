"""What happens, for people, with ElastiCache's names where it has one. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shardproxy.store.notes import NoteKey

MAX_MESSAGE = 2000  # characters; an event is a sentence


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
    JOB_STARTED = "JobStarted"
    JOB_DONE = "JobComplete"
    JOB_FAILED = "JobFailed"
    JOB_ABORTED = "JobAborted"
    SNAPSHOT_COMPLETE = "SnapshotComplete"  # ElastiCache's
    SNAPSHOT_FAILED = "SnapshotFailed"  # ElastiCache's
    PERSISTENCE_SET = "PersistenceSet"
    SCALING_ADVISED = "ScalingAdvised"
    SCALING_ASKED = "ScalingAsked"
    ALARM = "Alarm"
    ALARM_CLEARED = "AlarmCleared"

    @property
    def words(self) -> str:
        """What a log line is headed with."""
        return self.name.replace("_", " ").lower()


class AlarmName(enum.Enum):
    """What an alarm is about: those about different things stand side by side."""

    FAILOVER = "failover"  # of a shard: its nodes, who is primary, and who decides that
    PERSISTENCE = "persistence"
    BACKUPS = "backups"


LOUD = frozenset(
    {
        EventName.ALARM,
        EventName.FAILOVER_STARTED,
        EventName.FAILOVER_DELAYED,
        EventName.SWITCHOVER_FAILED,
        EventName.NODES_REBOOTED,
        EventName.JOB_FAILED,
        EventName.SNAPSHOT_FAILED,
        EventName.SCALING_ADVISED,
    }
)


@dataclass(frozen=True, slots=True)
class Event:
    """`number` grows with every event, and is the same at every proxy: a reader can tell what is new."""

    number: int
    time: datetime  # for display; decides nothing
    name: EventName
    cluster: str
    shard: int | None
    message: str


def event_encode(event: Event) -> dict[str, Any]:
    """What a note says beside its key."""
    return {
        "time": event.time.isoformat(),
        "name": event.name.value,
        "shard": event.shard,
        "message": event.message[:MAX_MESSAGE],
    }


def event_decode(key: NoteKey, value: Any) -> Event | None:
    """None for what is no event, as of another version."""
    try:
        number, name = number_of(key), EventName(value["name"])
        time, shard = datetime.fromisoformat(value["time"]), value["shard"]
        return Event(number, time, name, key.cluster, shard, str(value["message"]))
    except (KeyError, TypeError, ValueError):
        return None


def number_of(key: NoteKey) -> int:
    """Microseconds: they are exact in any reader's JSON."""
    return ns_of(key) // 1000


def ns_of(key: NoteKey) -> int:
    """When it was, as its name says; raise ValueError."""
    return int(key.name.partition("-")[0])
