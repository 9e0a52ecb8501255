"""Events outlive the process, in a file that does not grow for ever."""

from __future__ import annotations

from pathlib import Path

import structlog

from shardproxy.failover.events import EventName, event_decode
from shardproxy.store.journal import CAPACITY, Journal, events_read
from shardproxy.store.notes import NoteKey, NoteKind


def test_the_file_holds_twice_as_many_as_are_kept_at_most(tmp_path: Path) -> None:
    path = tmp_path / "events"
    journal = Journal(path)
    for number in range(3 * CAPACITY):
        journal.add({"number": number})
        assert path.read_bytes().count(b"\n") <= 2 * CAPACITY
    assert [line["number"] for line in Journal(path)] == list(range(2 * CAPACITY, 3 * CAPACITY))


def test_a_line_cut_short_and_one_of_another_kind_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "events"
    Journal(path).add({"id": "1-self", "cluster": "sessions", "value": "one"})
    with path.open("ab") as file:
        file.write(b'{"number":2}\n[3]\n{"number": 4, "ti')
    assert list(events_read(Journal(path))) == [(NoteKey("sessions", NoteKind.EVENT, "1-self"), "one")]


def test_lines_of_versions_before_are_events() -> None:
    line = {
        "number": 7,
        "time": "2026-11-29T10:00:00.000001+00:00",
        "name": "Alarm",
        "cluster": "sessions",
        "shard": 3,
        "message": "look",
    }
    ((key, value),) = events_read([line])
    event = event_decode(key, value)
    assert event is not None
    assert (event.name, event.cluster, event.shard, event.message) == (EventName.ALARM, "sessions", 3, "look")
    assert event.number == 1795946400000001


def test_where_it_cannot_be_written_the_log_says_so_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "nowhere" / "events")
    with structlog.testing.capture_logs() as said:
        journal.add({"number": 1})
        journal.add({"number": 2})
    assert [line["event"] for line in said] == ["events are not kept"]
    assert len(list(journal)) == 2
