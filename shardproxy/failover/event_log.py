"""Notes what happens, for all proxies that share the store: the newest thousand of each cluster.

    add ─> waiting (bounded) ─> run ─> notes ─> latest, here and at every other proxy

Adding never waits and never fails: what cannot be noted now is noted later, in its order.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
import trio

from shardproxy.failover.events import (
    LOUD,
    AlarmName,
    Event,
    EventName,
    event_decode,
    event_encode,
    ns_of,
    number_of,
)
from shardproxy.model.board import News
from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import ConflictError, Notebook, StoreUnavailableError
from shardproxy.store.journal import CAPACITY, event_name
from shardproxy.store.memory import MemoryNotes
from shardproxy.store.notes import NoteKey, NoteKind, notes_of

TOO_MANY = 100  # beyond those that are kept: then they are dropped together
RETRY = 1.0  # seconds until a store that could not be reached is tried again

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Total:
    """How often something happened, and how many seconds it took in all."""

    count: int = 0
    seconds: float = 0.0


class EventLog:
    """Of one process; what others noted is in `latest` as well."""

    def __init__(self, notebook: Notebook | None = None, member: str = "self") -> None:
        self._notebook = notebook or MemoryNotes()
        self._member = member
        self._waiting: deque[tuple[NoteKey, dict[str, Any]]] = deque(maxlen=CAPACITY)  # to be noted
        self._news = News()
        self._last = 0  # name of the latest event, ours or another's, in nanoseconds
        self.totals: dict[tuple[str, EventName], Total] = {}  # by cluster, since the start, added here
        self.alarms: dict[tuple[ShardKey, AlarmName], str] = {}  # that stand, of shards that are tended here

    def add(
        self,
        name: EventName,
        key: ShardKey,
        message: str,
        *,
        seconds: float = 0.0,
        about: AlarmName = AlarmName.FAILOVER,
    ) -> None:
        """Log an event of a shard, and have it noted. Alarms `about` other things stand side by side."""
        total = self.totals.get((key.cluster, name), Total())
        self.totals[key.cluster, name] = Total(total.count + 1, total.seconds + seconds)
        self._last = max(time.time_ns(), self._last + 1000)  # in order, whatever clocks say
        note = NoteKey(key.cluster, NoteKind.EVENT, event_name(self._last, self._member))
        event = Event(number_of(note), datetime.now(UTC), name, key.cluster, key.index, message)
        self._waiting.append((note, event_encode(event)))
        self._news.ring()
        if name is EventName.ALARM:
            self.alarms[key, about] = message
        elif name is EventName.ALARM_CLEARED:
            self.alarms.pop((key, about), None)
        say = log.warning if name in LOUD else log.info
        say(name.words, shard=str(key), why=message)

    def alarms_forget(self, cluster: str) -> None:
        """Its shards are not tended here any more: whoever tends them says what is wrong."""
        for alarm in [alarm for alarm in self.alarms if alarm[0].cluster == cluster]:
            del self.alarms[alarm]

    def latest(self, count: int = CAPACITY) -> Sequence[Event]:
        """The newest events, the oldest of them first."""
        noted = {k: note.value for k, note in self._notebook.notes.items() if k.kind is NoteKind.EVENT}
        noted.update(self._waiting)
        found = (event_decode(key, noted[key]) for key in sorted(noted, key=lambda key: key.name))
        return [event for event in found if event is not None][-count:] if count > 0 else ()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Note what was added, until cancelled."""
        notes = self._notebook.notes
        notes.subscribe(self._news)
        try:
            task_status.started()
            while True:
                self._look()
                clusters = {key.cluster for key, _ in self._waiting}
                await self._note_all()
                for cluster in clusters:
                    await self._trim(cluster, CAPACITY + TOO_MANY)
                await self._news.wait()
        finally:
            notes.unsubscribe(self._news)

    def _look(self) -> None:
        """See how far others' names have come: ours sort after what we knew."""
        for key in self._notebook.notes:
            if key.kind is NoteKind.EVENT and (at := _at(key)) > self._last:
                self._last = at

    async def _note_all(self) -> None:
        is_down = False
        while self._waiting:
            key, value = first = self._waiting[0]
            try:
                await self._notebook.note(key, value)
            except StoreUnavailableError as error:
                if not is_down:
                    log.warning("events wait for the store", why=str(error))
                is_down = True
                await trio.sleep(RETRY)
                continue
            except ConflictError:
                pass  # it is there
            except ValueError:
                if await self._trim(key.cluster, CAPACITY // 2):
                    continue
                log.warning("an event is too large to be kept", cluster=key.cluster)
            if self._waiting and self._waiting[0] is first:
                self._waiting.popleft()

    async def _trim(self, cluster: str, most: int) -> bool:
        """Whoever adds drops the oldest where there are more than so many; whether there were."""
        names = list(notes_of(self._notebook.notes, cluster, NoteKind.EVENT))
        if len(names) <= most:
            return False
        try:
            for name in names[: len(names) - min(most, CAPACITY)]:
                await self._notebook.drop(name)
        except StoreUnavailableError:
            return False  # next time
        return True


def _at(key: NoteKey) -> int:
    try:
        return ns_of(key)
    except ValueError:
        return 0
