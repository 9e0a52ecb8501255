"""A model of one engine's replication, as measured on Redis 7.0. Knows nothing of time but what it is told.

It keeps the order of writes it has (`log`) instead of keys, so that a check can say what was lost.
"""

from __future__ import annotations

import enum
import itertools
import math
from dataclasses import dataclass, field

from shardproxy.model import Address
from shardproxy.model.replication import DEAD_END

WRITE = 10  # bytes of history per write
PING = 14
REPL_TIMEOUT = 40.0  # seconds without a word from its primary until a replica takes the link for lost

_names = itertools.count(1)


class Life(enum.Enum):
    RUNNING = "running"
    BUSY = "busy"  # with one command: it answers nobody until that is done
    FROZEN = "frozen"
    DEAD = "dead"


def new_id() -> str:
    return f"{next(_names):040x}"


@dataclass
class SimEngine:
    """What survives in a process; `restart` makes another one."""

    address: Address
    life: Life = Life.RUNNING
    run_id: str = field(default_factory=new_id)
    follows: Address | None = None  # None = a primary
    link_up: bool = False
    syncing_until: float | None = None
    replid: str = field(default_factory=new_id)
    replid2: str = ""
    second_offset: int = -1
    offset: int = 0
    log: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)  # offset after each write of the log
    heard_at: float = 0.0
    lost_at: float | None = None  # its link; None = it never was up since it was told to follow
    pinged_at: float = 0.0
    next_try_at: float = 0.0  # to connect to its primary
    cron_phase: float = 0.83  # seconds after each full one: when it tries again
    ping_period: float = 10.0
    disk_full: bool = False
    is_lagging: bool = False
    handing_over_to: Address | None = None
    priority: int = 100
    works_since: float | None = None  # on a command that takes long, which it has not answered
    works_until: float = 0.0
    answered_at: float | None = None  # it was done with such a command
    clients: dict[str, str] = field(default_factory=dict)  # its visitors' names, by who they are
    scripts: set[str] = field(default_factory=set)  # as SCRIPT EXISTS has them

    @property
    def is_primary(self) -> bool:
        return self.follows is None

    def append(self, value: int) -> None:
        """Execute a write."""
        self.offset += WRITE
        self.log.append(value)
        self.ends.append(self.offset)

    def promote(self) -> None:
        if self.is_primary:
            return
        self.replid2, self.second_offset, self.replid = self.replid, self.offset + 1, new_id()
        self.follows, self.link_up, self.syncing_until = None, False, None

    def follow(self, address: Address) -> None:
        if self.follows == address:
            return  # "OK Already connected to specified master"
        if self.syncing_until is not None:
            self.log, self.ends, self.offset = [], [], 1  # half a sync is no data
        self.follows, self.link_up, self.syncing_until, self.next_try_at = address, False, None, 0.0
        self.lost_at = None

    def restart(self, *, keeps_data: bool, is_safe: bool) -> None:
        """Come back as another process: with its data or without, as a primary or safely frozen."""
        log, ends = (self.log, self.ends) if keeps_data else ([], [])
        old_replid, offset = self.replid, self.offset if keeps_data else 0
        fresh = SimEngine(self.address, log=list(log), ends=list(ends), offset=offset, priority=self.priority)
        if keeps_data:  # as an RDB has it
            fresh.replid2, fresh.second_offset = old_replid, offset + 1
        if is_safe:
            fresh.follows = DEAD_END
            if keeps_data:
                fresh.replid = old_replid
                fresh.replid2, fresh.second_offset = "", -1
        fresh.cron_phase = self.cron_phase
        self.__dict__.update(fresh.__dict__)

    def lose_link(self, now: float) -> None:
        if self.link_up:
            self.lost_at = now
        self.link_up, self.syncing_until, self.next_try_at = False, None, self.next_cron(now)

    def _down_since(self, now: float) -> list[str]:
        if self.link_up:
            return []
        return [
            f"master_link_down_since_seconds:{int(now - self.lost_at) if self.lost_at is not None else -1}"
        ]

    def next_cron(self, now: float) -> float:
        """When it tries the next time: once per second, wherever in the second it began."""
        return math.floor(now - self.cron_phase) + 1 + self.cron_phase

    def pull(self, primary: SimEngine, now: float) -> None:
        """Take what the primary has: the link is up and carries."""
        if self.is_lagging or primary.offset <= self.offset:
            return
        have = len(self.log)
        self.log.extend(primary.log[have:])
        self.ends.extend(primary.ends[have:])
        self.offset, self.heard_at = primary.offset, now

    def sync(self, primary: SimEngine, now: float) -> bool:
        """Connect: partially when the history allows (True), else a full sync begins."""
        self.heard_at = now
        is_same = self.replid == primary.replid and self.offset <= primary.offset
        is_prefix = self.replid == primary.replid2 and self.offset < primary.second_offset
        if is_same or is_prefix:
            self.replid, self.replid2 = primary.replid, primary.replid2
            self.second_offset, self.link_up = primary.second_offset, True
            return True
        self.log, self.ends, self.offset = [], [], 1
        self.syncing_until = now + 0.3
        return False

    def finish_sync(self, primary: SimEngine) -> None:
        self.log, self.ends, self.offset = list(primary.log), list(primary.ends), primary.offset
        self.replid, self.replid2 = primary.replid, primary.replid2
        self.second_offset, self.link_up, self.syncing_until = primary.second_offset, True, None

    def info(self, section: str, now: float, attached: list[SimEngine]) -> bytes:
        match section:
            case "server":
                return f"run_id:{self.run_id}\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n".encode()
            case "keyspace":
                return f"db0:keys={len(self.log)},expires=0\r\n".encode() if self.log else b""
        lines = [f"role:{'master' if self.is_primary else 'slave'}"]
        if self.follows is not None:
            lines += [
                f"master_host:{self.follows.host}",
                f"master_port:{self.follows.port}",
                f"master_link_status:{'up' if self.link_up else 'down'}",
                f"master_last_io_seconds_ago:{int(now) - int(self.heard_at) if self.link_up else -1}",
                *self._down_since(now),
                f"master_sync_in_progress:{int(self.syncing_until is not None)}",
                f"slave_repl_offset:{self.offset}",
                f"slave_priority:{self.priority}",
            ]
        lines.append(f"connected_slaves:{len(attached)}")
        for number, replica in enumerate(attached):
            host, port, offset = replica.address.host, replica.address.port, replica.offset
            lines.append(f"slave{number}:ip={host},port={port},state=online,offset={offset},lag=0")
        busy = self.handing_over_to is not None
        lines += [
            f"master_failover_state:{'waiting-for-sync' if busy else 'no-failover'}",
            f"master_replid:{self.replid}",
            f"master_replid2:{self.replid2 or '0' * 40}",
            f"master_repl_offset:{self.offset}",
            f"second_repl_offset:{self.second_offset}",
        ]
        return "\r\n".join(lines).encode()
