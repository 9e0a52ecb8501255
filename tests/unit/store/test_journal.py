"""Events outlive the process, in a file that does not grow for ever."""

from __future__ import annotations

from pathlib import Path

import structlog

from shardproxy.failover.events import EventLog, EventName
from shardproxy.model.replication import ShardKey
from shardproxy.store.journal import CAPACITY, Journal

KEY = ShardKey("sessions", 0)


def test_events_are_there_again_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "state.json.events"
    first = EventLog(Journal(path))
    first.add(EventName.FAILOVER_STARTED, KEY, "primary dead")
    first.add(EventName.FAILOVER_COMPLETE, KEY, "another one", seconds=0.1)
    again = EventLog(Journal(path))
    assert again.latest() == first.latest()
    again.add(EventName.ALARM, KEY, "only one left")
    assert [event.number for event in EventLog(Journal(path)).latest()] == [1, 2, 3]
    assert path.stat().st_mode & 0o077 == 0


def test_the_file_holds_twice_as_many_as_are_kept_at_most(tmp_path: Path) -> None:
    path = tmp_path / "events"
    journal = Journal(path)
    for number in range(3 * CAPACITY):
        journal.add({"number": number})
        assert path.read_bytes().count(b"\n") <= 2 * CAPACITY
    assert [line["number"] for line in Journal(path)] == list(range(2 * CAPACITY, 3 * CAPACITY))


def test_a_line_cut_short_and_one_of_another_kind_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "events"
    EventLog(Journal(path)).add(EventName.ALARM, KEY, "one")
    with path.open("ab") as file:
        file.write(b'{"number":2}\n[3]\n{"number": 4, "ti')
    assert [event.message for event in EventLog(Journal(path)).latest()] == ["one"]


def test_where_it_cannot_be_written_the_log_says_so_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "nowhere" / "events")
    with structlog.testing.capture_logs() as said:
        journal.add({"number": 1})
        journal.add({"number": 2})
    assert [line["event"] for line in said] == ["events are not kept"]
    assert len(list(journal)) == 2
