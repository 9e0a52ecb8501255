"""Log lines: JSON for machines, text for people."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator

import pytest
import structlog

from shardproxy.cli.logs import logs_configure
from shardproxy.config import Log, LogFormat, LogLevel
from shardproxy.failover.event_log import EventLog
from shardproxy.failover.events import AlarmName, EventName
from shardproxy.model.replication import ShardKey


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _defaults_after() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_lines_are_json_unless_a_terminal_shows_them() -> None:
    stream = io.StringIO()
    logs_configure(Log(), stream)
    structlog.get_logger().warning("node down", node="127.0.0.1:7101", why="3 probes timed out")
    line = json.loads(stream.getvalue())
    assert list(line)[:3] == ["timestamp", "level", "event"], "what is read first"
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "warning",
        "event": "node down",
        "node": "127.0.0.1:7101",
        "why": "3 probes timed out",
    }


def test_a_terminal_gets_text() -> None:
    stream = Terminal()
    logs_configure(Log(), stream)
    structlog.get_logger().info("ready")
    assert "ready" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_an_exception_is_one_json_line() -> None:
    stream = io.StringIO()
    logs_configure(Log(format=LogFormat.JSON), stream)
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger().exception("failed")
    assert stream.getvalue().count("\n") == 1
    assert "ValueError: broken" in json.loads(stream.getvalue())["exception"]


def test_what_is_less_severe_than_the_level_is_silent() -> None:
    stream = io.StringIO()
    logs_configure(Log(level=LogLevel.ERROR), stream)
    structlog.get_logger().warning("node down")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["json", "console"])
def test_an_event_of_a_shard_is_headed_by_its_name(stream: io.StringIO) -> None:
    logs_configure(Log(), stream)
    events = EventLog()
    events.add(EventName.FAILOVER_STARTED, ShardKey("main", 1), "connections refused: the process is dead")
    text = stream.getvalue()
    assert "failover started" in text
    assert text.index("failover started") < text.index("main/1") < text.index("connections refused")


def test_every_event_has_words_of_its_own() -> None:
    words = [name.words for name in EventName]
    assert len(set(words)) == len(words)
    assert all(re.fullmatch("[a-z ]+", each) for each in words)


def test_an_alarm_stands_until_it_is_cleared() -> None:
    events, shard = EventLog(), ShardKey("main", 0)
    events.add(EventName.ALARM, shard, "no node answers")
    events.add(EventName.ALARM, shard, "two primaries")
    events.add(EventName.NODE_RECOVERED, shard, "127.0.0.1:7101")
    assert events.alarms == {(shard, AlarmName.FAILOVER): "two primaries"}
    events.add(EventName.ALARM_CLEARED, shard, "no longer: two primaries")
    assert events.alarms == {}
