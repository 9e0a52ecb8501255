"""How many connections the admin API has, of everybody together and of one address. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

MAX_CONNECTIONS = 64
KEPT_FOR_HERE = 16  # of these, for this machine: whoever else fills the rest takes away nobody's command line
MAX_OF_ONE = 16  # of one address of another machine


@dataclass(slots=True)
class Slots:
    """Those that are taken, by address."""

    _taken: Counter[str] = field(default_factory=Counter)

    def take(self, peer: str, *, is_here: bool) -> bool:
        """Take one, and whether there was one; `give` has to follow."""
        most, of_one = (
            (MAX_CONNECTIONS, MAX_CONNECTIONS) if is_here else (MAX_CONNECTIONS - KEPT_FOR_HERE, MAX_OF_ONE)
        )
        if self._taken.total() >= most or self._taken[peer] >= of_one:
            return False
        self._taken[peer] += 1
        return True

    def give(self, peer: str) -> None:
        self._taken[peer] -= 1
        if not self._taken[peer]:
            del self._taken[peer]
