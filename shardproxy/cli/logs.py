"""How log lines look: for a person on a terminal, else JSON, one object a line."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TextIO

import structlog

from shardproxy.config import Log, LogFormat

HEAD = ("timestamp", "level", "event")


def logs_configure(config: Log, stream: TextIO | None = None) -> None:
    """Set the least level and the format of every log line of this process (stream: standard error)."""
    stream = stream or sys.stderr
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *_renderers(_is_console(config.format, stream)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(config.level.value),
        logger_factory=structlog.PrintLoggerFactory(stream),
    )


def _is_console(chosen: LogFormat, stream: TextIO) -> bool:
    return stream.isatty() if chosen is LogFormat.AUTO else chosen is LogFormat.CONSOLE


def _renderers(console: bool) -> list[structlog.typing.Processor]:
    if console:
        return [
            structlog.dev.ConsoleRenderer(sort_keys=False, exception_formatter=structlog.dev.plain_traceback)
        ]
    return [structlog.processors.format_exc_info, _headed, structlog.processors.JSONRenderer()]


def _headed(logger: object, method: str, line: structlog.typing.EventDict) -> Mapping[str, object]:
    """Put first what a reader looks for first: when, how grave, what."""
    return {**{key: line[key] for key in HEAD if key in line}, **line}
