"""Which key families would bring together what an application touches together.

A rule is only proposed when every request that was seen is in one slot by it, found by the data plane's own
search.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from shardproxy.advice.patterns import STAR, parts_of
from shardproxy.commands.table import Table
from shardproxy.config.families import FamilyPreset, FamilyRule, Preset
from shardproxy.dataplane._native import Placer

Keys = tuple[bytes, ...]
PATTERNS = 12  # of one group of requests; beyond that no rule of ours makes sense of them
ID = "{id}"


@dataclass(frozen=True, slots=True)
class Cure:
    """Rules, in the config's own form; `is_whole`: all keys of these patterns go to one shard."""

    rules: tuple[tuple[str, str], ...]
    preset: str | None = None
    is_whole: bool = False


class Curer:
    """Looks for rules; `table` is only what a placer wants."""

    def __init__(self, table: Table) -> None:
        self._table = table.encode()

    def cure(
        self, patterns: Sequence[str], samples: Sequence[Keys], presets: Iterable[Preset] = ()
    ) -> Cure | None:
        """The narrowest rules by which the keys of each sample are in one slot; presets before them."""
        if len(patterns) > PATTERNS or any("\\x" in pattern for pattern in patterns):
            return None
        candidates = itertools.chain(_presets(presets), _by_part(patterns, samples), _whole(patterns))
        return next(
            (cure for cure in candidates if _is_taken(cure) and self.cures(cure.rules, samples)), None
        )

    def cures(self, rules: Sequence[tuple[str, str]], samples: Sequence[Keys]) -> bool:
        """Whether the keys of each sample are in one slot."""
        try:
            placer = Placer(self._table, list(rules))
        except ValueError:  # two parts next to each other, or a pattern that is too long
            return False
        return all(len({placer.slot(key) for key in keys}) < 2 for keys in samples)


# Keys by which a library is known: its other names are common words.
MARKS = {
    Preset.BULLMQ: r"bull:[^:]+:(wait|active|meta|id|events|completed|marker|stalled.*)",
    Preset.CELERY: r"_kombu\..*|unacked(_index|_mutex)?",
    Preset.RQ: r"rq:(job|queue|workers|finished|failed|wip|registry|deferred).*",
    Preset.SIDEKIQ: r"queues|processes|stat:(processed|failed).*",
}


def presets_of(patterns: Iterable[str]) -> tuple[Preset, ...]:
    """The libraries whose keys are among these."""
    every = tuple(patterns)
    return tuple(p for p, mark in MARKS.items() if any(re.fullmatch(mark, pattern) for pattern in every))


def _presets(presets: Iterable[Preset]) -> Iterator[Cure]:
    for preset in presets:
        rules = tuple((rule.match, rule.hash) for rule in FamilyPreset(preset=preset).rules())
        yield Cure(rules, preset.value)


def _by_part(patterns: Sequence[str], samples: Sequence[Keys]) -> Iterator[Cure]:
    """Rules by a part that the keys of a request have in common, such as the number of a user."""
    read = [[_read(patterns, key) for key in keys] for keys in samples]
    if not read or any(part is None for parts in read for part in parts):
        return
    parts = [[part for part in sample if part is not None] for sample in read]
    choices = [range(pattern.count(STAR)) for pattern in patterns]
    for places in itertools.islice(itertools.product(*choices), 4096):
        if all(len({found[places[number]] for number, found in sample}) < 2 for sample in parts):
            chosen = [_named(pattern, place) for pattern, place in zip(patterns, places, strict=True)]
            yield Cure(tuple((match, ID) for match in _shortened(chosen)))
            yield Cure(tuple((match, ID) for match in sorted(chosen, key=len, reverse=True)))


def _read(patterns: Sequence[str], key: bytes) -> tuple[int, tuple[str, ...]] | None:
    """The pattern of a key, by number, and what stands for its asterisks."""
    found = ((number, parts_of(pattern, key)) for number, pattern in enumerate(patterns))
    return next(((number, parts) for number, parts in found if parts is not None), None)


def _named(pattern: str, place: int) -> str:
    """A rule's match, its part at that place being what is hashed."""
    pieces = [_literal(piece) for piece in pattern.split(STAR)]
    marks = [ID if number == place else STAR for number in range(len(pieces) - 1)]
    return "".join(itertools.chain.from_iterable(itertools.zip_longest(pieces, marks, fillvalue="")))


def _literal(text: str) -> str:
    return re.sub(r"[{\[]", lambda mark: f"[{mark[0]}]", text)


def _shortened(matches: Sequence[str]) -> list[str]:
    """`user:{id}:*` for `user:{id}:cart` and `user:{id}:name`; the longer ones first."""
    beginnings = [match[: match.index(ID) + len(ID)] for match in matches]
    short: list[str] = []
    for match, beginning in zip(matches, beginnings, strict=True):
        rest = match[len(beginning) :]
        is_shared = beginnings.count(beginning) > 1 and rest and re.match(r"\W", rest) is not None
        short.append(f"{beginning}{rest[0]}*" if is_shared else match)
    return sorted(dict.fromkeys(short), key=len, reverse=True)


def _whole(patterns: Sequence[str]) -> Iterator[Cure]:
    """All keys of these patterns together: right for a few, and one shard's burden for many."""
    name = (
        next(filter(None, re.split(r"\W+", patterns[0].replace(STAR, " "))), "together") if patterns else ""
    )
    matches = [_literal(pattern) for pattern in patterns]
    if name:
        yield Cure(tuple((match, name) for match in sorted(matches, key=len, reverse=True)), is_whole=True)


def _is_taken(cure: Cure) -> bool:
    """Whether the config takes the rules."""
    try:
        for match, hashed in cure.rules if cure.preset is None else ():
            FamilyRule(match=match, hash=hashed)
    except ValueError:
        return False
    return True
