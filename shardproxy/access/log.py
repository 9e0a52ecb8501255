"""What ACL LOG shows: refusals of late, equal ones counted together, as in Redis' acl.c."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from shardproxy.access.events import AccessEvent, Listener

MAX_ENTRIES = 128  # acllog-max-len
TOGETHER = 60.0  # seconds in which equal refusals are one entry
LOOKED_AT = 10  # of the newest entries, for an equal one

REASONS = {"command": "command", "key": "key", "channel": "channel"}  # of a refusal that Redis logs


@dataclass(frozen=True, slots=True)
class Refused:
    """One entry: somebody was not let in, or not let do something."""

    id: int
    reason: str  # command, key, channel or auth
    context: str  # toplevel or multi
    what: bytes  # the command, key or channel
    user: str
    client_id: int  # the last one's
    address: str
    created: float  # seconds since 1970
    updated: float
    count: int = 1

    def is_like(self, other: Refused) -> bool:
        """Whether the two are one entry, if they are not too far apart."""
        mine, its = ((one.reason, one.context, one.what, one.user) for one in (self, other))
        return mine == its


class AclLog:
    """The refusals in one cluster, the newest first."""

    def __init__(self) -> None:
        self._entries: list[Refused] = []
        self._count = 0

    @property
    def entries(self) -> Sequence[Refused]:
        return self._entries

    def note(self, event: AccessEvent, now: float) -> None:
        """Take down what happened, if it is a refusal that ACL LOG shows."""
        match event.kind, event.why:
            case "denied", why if why in REASONS:
                reason, thing, context = REASONS[why], event.object, event.context
            case "login_refused", _:
                reason, thing, context = "auth", b"AUTH", "toplevel"
            case _:
                return
        entry = Refused(
            self._count, reason, context, thing, event.user, event.client_id, event.address, now, now
        )
        for place, before in enumerate(self._entries[:LOOKED_AT]):
            if before.is_like(entry) and now - before.updated <= TOGETHER:
                del self._entries[place]
                entry = replace(entry, id=before.id, created=before.created, count=before.count + 1)
                break
        else:
            self._count += 1
        self._entries.insert(0, entry)
        del self._entries[MAX_ENTRIES:]

    def reset(self) -> None:
        self._entries.clear()


class AclLogs:
    """The logs of all clusters that had a refusal."""

    def __init__(self) -> None:
        self._logs: dict[str, AclLog] = {}

    def of(self, cluster: str) -> AclLog:
        return self._logs.setdefault(cluster, AclLog())

    def note(self, event: AccessEvent, now: float) -> None:
        self.of(event.cluster).note(event, now)


async def run_acl_logs(listener: Listener, logs: AclLogs) -> None:
    """Take down every refusal, until there are no more events."""
    async for event in listener.events:
        logs.note(event, time.time())
