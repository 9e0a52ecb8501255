"""Which commands take an engine long, by its own word: its slow log. Pure.

What is known to take long by its nature is in the command table; here is what did, of all the rest. Names
only: an argument may be a key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from shardproxy.wire.reply import Reply

SLOW_LOG = 16  # entries asked for; there are more only where much is slow
REMEMBERED = 3600.0  # seconds after a command last took long
MAX_NAME = 64  # bytes; no command has a longer one
MAX_NAMES = 64  # of a cluster


@dataclass(frozen=True, slots=True)
class SlowCall:
    """An entry of the log: its number, its seconds, and what the command table may call it."""

    number: int
    seconds: float
    names: tuple[str, ...]


def read_slow(log: Reply) -> tuple[SlowCall, ...]:
    """From SLOWLOG GET; what is no such entry, or an error, says nothing."""
    found = []
    for entry in log if isinstance(log, list) else ():
        match entry:
            case [int() as number, int(), int() as micros, [bytes() as name, *more], *_]:
                found.append(SlowCall(number, micros / 1e6, _names(name, more)))
    return tuple(found)


def _names(name: bytes, more: list[Reply]) -> tuple[str, ...]:
    """With its first argument it may be a subcommand."""
    first = more[0] if more and isinstance(more[0], bytes) else b""
    words = [word.lower().decode() for word in (name, first) if word.isascii() and 0 < len(word) <= MAX_NAME]
    return (words[0], "|".join(words)) if len(words) == 2 else tuple(words)


@dataclass(frozen=True, slots=True)
class SlowCommands:
    """What took long lately in one cluster. Times are trio's."""

    until: Mapping[str, float] = field(default_factory=dict)  # by name: when it is forgotten
    seen: Mapping[tuple[object, str], int] = field(default_factory=dict)  # newest number by node and run_id

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self.until)

    def noted(
        self, node: object, run_id: str, calls: Iterable[SlowCall], limit: float, now: float
    ) -> SlowCommands:
        """Add those of a node's log that were not there before and took so many seconds."""
        seen = self.seen.get((node, run_id), -1)
        new = [call for call in calls if call.number > seen]
        until = {name: at for name, at in self.until.items() if at > now}
        for call in new:
            if call.seconds >= limit:
                until |= dict.fromkeys(call.names, now + REMEMBERED)
        if len(until) > MAX_NAMES:
            until = dict(sorted(until.items(), key=lambda item: -item[1])[:MAX_NAMES])
        others = {key: number for key, number in self.seen.items() if key[0] != node}
        newest = max((call.number for call in new), default=seen)
        return replace(self, until=until, seen={**others, (node, run_id): newest})
