"""Keys that differ in a number, an id or a name only are of one pattern."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

STAR = "*"
MANY = 6  # so many words in one place are names, not parts of a layout
MOST = 20_000  # patterns that words are counted of
_WORDS = re.compile(r"[^:/|.,;#@\s{}\[\]-]+|.", re.DOTALL)
_ID = re.compile(
    r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"  # a UUID
    # letters and digits together
    r"|(?<![0-9A-Za-z])(?=[A-Za-z_]*\d)(?=[0-9_]*[A-Za-z])[0-9A-Za-z_]{8,}(?![0-9A-Za-z])"
    r"|\d+"
)


def pattern_of(key: bytes) -> str:
    """A key with ids and numbers as `*`; an asterisk of its own is one, too."""
    text = key.decode("utf-8", "backslashreplace")
    return re.sub(r"\*+", STAR, _ID.sub(STAR, text))


class Layout:
    """Learns from many patterns which words are names: where many different ones stand in one place."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._words: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for pattern, _ in zip(dict.fromkeys(patterns), range(MOST), strict=False):
            words = _WORDS.findall(pattern)
            for place, word in self._places(words):
                seen = self._words[(*words[:place], "\0", *words[place + 1 :])]
                if len(seen) < MANY:
                    seen.add(word)

    def pattern(self, pattern: str) -> str:
        """The pattern with names as `*`, too."""
        words = _WORDS.findall(pattern)
        names = [
            place
            for place, _ in self._places(words)
            if len(self._words[(*words[:place], "\0", *words[place + 1 :])]) >= MANY
        ]
        for place in names:
            words[place] = STAR
        return re.sub(r"\*+", STAR, "".join(words))

    @staticmethod
    def _places(words: list[str]) -> list[tuple[int, str]]:
        """Where names may stand: behind what a key begins with."""
        return [(place, word) for place, word in enumerate(words) if place > 0 and len(word) > 1]


def parts_of(pattern: str, key: bytes) -> tuple[str, ...] | None:
    """What stands for each `*` of the pattern in a key; None where it does not fit."""
    text = key.decode("utf-8", "backslashreplace")
    found = re.fullmatch(re.escape(pattern).replace(r"\*", "(.+?)"), text, re.DOTALL)
    return None if found is None else found.groups()
