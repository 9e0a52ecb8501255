"""What a comparison has found. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

SHOWN_KEY = 200  # characters of a key


class What(enum.Enum):
    ONLY_A = "only in A"
    ONLY_B = "only in B"
    TYPE = "type"
    VALUE = "value"
    TTL = "time to live"


@dataclass(frozen=True, slots=True)
class Difference:
    """One key, and how it differs; never a value."""

    key: bytes
    what: What
    text: str = ""

    def __str__(self) -> str:
        key = self.key.decode(errors="backslashreplace")
        key = key if len(key) <= SHOWN_KEY else f"{key[:SHOWN_KEY]}..."
        key = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in key)
        return f"{key}: {self.what.value}{f': {self.text}' if self.text else ''}"


@dataclass(slots=True)
class Tally:
    """How far it is, and what differs as of the last look."""

    keys_a: int = 0  # that A had when it began
    keys_b: int = 0
    scanned_a: int = 0
    scanned_b: int = 0
    compared: int = 0  # of both, once for each time SCAN showed it
    gone: int = 0  # deleted or expired before it was looked at
    settled: int = 0  # differed first, and not when looked at again
    looks: int = 0  # again
    different: dict[bytes, Difference] = field(default_factory=dict)
    is_cut: bool = False  # so much differs that the rest was not looked at

    @property
    def is_same(self) -> bool:
        return not self.different

    def counts(self) -> dict[str, int]:
        """How many keys differ, by how they do."""
        found = {what.value: 0 for what in What}
        for difference in self.different.values():
            found[difference.what.value] += 1
        return found
