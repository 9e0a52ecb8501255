"""A client library's cache, as small as one can be: what was read is kept until it is told to be old."""

from __future__ import annotations

from typing import Any

from tests.integration.tracking.conftest import Tracker


class Cached:
    """A client in RESP3 that keeps what it reads, and knows what it holds."""

    def __init__(self, wire: Tracker, *options: str) -> None:
        self.wire = wire
        self.kept: dict[bytes, Any] = {}
        self.flushed = 0
        self.told = 0
        assert wire.ask("CLIENT", "TRACKING", "on", *options) == b"OK"

    def read(self, keys: list[bytes]) -> None:
        """Ask for these, all at once, and keep what comes."""
        for key in keys:
            self.wire.send_command("GET", key)
        for key in keys:
            self.kept[key] = self.reply()

    def set(self, key: bytes, value: bytes) -> None:
        """Keep what is written, as one does who wants no loop."""
        self.wire.send_command("SET", key, value)
        assert self.reply() == b"OK"
        self.kept[key] = value

    def catch_up(self) -> None:
        """Hear what has come so far."""
        self.wire.send_command("ECHO", "here")
        assert self.reply() == b"here"

    def reply(self) -> Any:
        """The next reply; what is told before it is heeded."""
        while isinstance(reply := self.wire.reply(), list) and reply[0] == b"invalidate":
            self.told += 1
            if reply[1] is None:
                self.flushed += 1
                self.kept.clear()
            else:
                for key in reply[1]:
                    self.kept.pop(key, None)
        return reply
