"""Which commands take an engine long, by its own word: its slow log. Pure.

What is known to take long by its nature is in the command table; here is what did, of all the rest. Names
only: an argument may be a key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from shardproxy.wire.reply import Reply

SLOW_LOG = 16  # entries asked for; there are more only where much is slow
REMEMBERED = 3600.0  # seconds after a command last took long
MAX_NAME = 64  # bytes; no command has a longer one
MAX_NAMES = 64  # of a cluster


@dataclass(frozen=True, slots=True)
class SlowCall:
    """An entry of the log: when it began by the node's clock, its seconds, and its command.

    With its first argument, which may as well be a key, the name is perhaps a subcommand's.
    """

    at: float
    seconds: float
    name: str
    sub_name: str | None = None


def read_slow(log: Reply) -> tuple[SlowCall, ...]:
    """From SLOWLOG GET; what is no such entry, or an error, says nothing."""
    found = []
    for entry in log if isinstance(log, list) else ():
        match entry:
            case [int(), int() as at, int() as micros, [bytes() as name, *more], *_] if _is_name(name):
                word = name.lower().decode()
                sub = more[0] if more and isinstance(more[0], bytes) and _is_name(more[0]) else None
                sub_name = f"{word}|{sub.lower().decode()}" if sub is not None else None
                found.append(SlowCall(at, micros / 1e6, word, sub_name))
    return tuple(found)


def _is_name(word: bytes) -> bool:
    return word.isascii() and 0 < len(word) <= MAX_NAME


@dataclass(frozen=True, slots=True)
class SlowCommands:
    """What took long lately in one cluster. Times are the wall clock's, as the nodes' logs have them."""

    until: Mapping[str, float] = field(default_factory=dict)  # by name: when it is forgotten

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self.until)

    def noted(
        self, calls: Iterable[SlowCall], limit: float, now: float, is_command: Callable[[str], bool]
    ) -> SlowCommands:
        """Add those of a node's log that took so many seconds, and forget what did so long ago.

        A log tells the same again until it is full. A clock that is ahead of ours does not make it last.
        """
        until = dict(self.until)
        for call in calls:
            if call.seconds >= limit:
                names = [call.name]
                if call.sub_name is not None and is_command(call.sub_name):
                    names.append(call.sub_name)
                ends = min(call.at, now) + REMEMBERED
                until |= {name: max(ends, until.get(name, ends)) for name in names}
        kept = sorted(((name, at) for name, at in until.items() if at > now), key=lambda item: -item[1])
        return SlowCommands(dict(kept[:MAX_NAMES]))
