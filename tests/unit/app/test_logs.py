"""Log lines: JSON for machines, text for people."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
import structlog

from shardproxy.cli.logs import logs_configure
from shardproxy.config import Log, LogFormat, LogLevel


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
