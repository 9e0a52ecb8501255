"""Gathers what is found, within bounds, and makes a report of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from shardproxy.advice.cure import Cure, Curer, Keys, presets_of
from shardproxy.advice.monitor import line_parse
from shardproxy.advice.patterns import Layout, pattern_of
from shardproxy.advice.verdict import Finding, Judge, Kind
from shardproxy.commands.table import Table

GROUPS = 2000  # told apart; what is beyond is only counted
SAMPLES = 50  # requests of a group that a cure has to be right for
KEYS = 200  # of one request that are looked at
LINE = 1 << 20  # bytes; a longer line is only counted

ADVICE = {
    Kind.SCRIPT: "name all keys in KEYS",
    Kind.DATABASE: "a cluster, or a prefix, for each database",
    Kind.IN_MULTI: "move it out of MULTI",
    Kind.APART: "none is needed, unless it has to be one moment",
    Kind.REFUSED: "",
}


@dataclass(slots=True)
class Group:
    """Requests of one kind, one command and the same patterns of keys."""

    finding: Finding
    patterns: tuple[str, ...]
    count: int = 0
    samples: list[Keys] = field(default_factory=list)
    cure: Cure | None = None
    is_cured: bool = False  # also by all rules together

    @property
    def advice(self) -> str:
        return ADVICE.get(self.finding.kind, "" if self.cure else "no rule was found")

    def add(self, count: int, samples: Iterable[Keys]) -> None:
        self.count += count
        self.samples = list(dict.fromkeys([*self.samples, *samples]))[:SAMPLES]


@dataclass(frozen=True, slots=True)
class Report:
    """What was seen, the gravest first, and the rules that cure what rules can."""

    commands: int
    groups: tuple[Group, ...]
    families: tuple[Cure, ...]
    unread: int
    unknown: tuple[str, ...]
    uncounted: int

    @property
    def refused(self) -> int:
        return sum(group.count for group in self.groups if group.finding.is_refused)


class Study:
    """Takes lines of MONITOR one by one."""

    def __init__(self, table: Table, shards: int, families: Sequence[tuple[str, str]] = ()) -> None:
        self._judge = Judge(table, shards, families)
        self._curer = Curer(table)
        self._groups: dict[tuple[Kind, str, tuple[str, ...]], Group] = {}
        self._commands = self._unread = self._uncounted = 0

    def take(self, line: bytes) -> None:
        """Look at one line."""
        seen = line_parse(line) if len(line) <= LINE else None
        if seen is None:
            self._unread += 1
            return
        self._commands += not seen.is_of_script
        for finding in self._judge.judge(seen):
            keys = finding.keys[:KEYS]
            self._add(finding, tuple(sorted(set(map(pattern_of, keys)))), 1, [keys] if keys else [])

    def skip(self, lines: int) -> None:
        """So many lines were not looked at."""
        self._unread += lines
        self._judge.forget()

    def _add(self, finding: Finding, patterns: tuple[str, ...], count: int, samples: list[Keys]) -> None:
        place = (finding.kind, finding.command, patterns)
        group = self._groups.get(place)
        if group is None:
            if len(self._groups) >= GROUPS:
                self._uncounted += count
                return
            group = self._groups[place] = Group(finding, patterns)
        if len(group.samples) >= SAMPLES:
            samples = []
        group.add(count, samples)

    def report(self) -> Report:
        groups = self._merged()
        presets = presets_of(pattern for group in groups for pattern in group.patterns)
        for group in groups:
            if group.finding.can_cure:
                group.cure = self._curer.cure(group.patterns, group.samples, presets)
        families = _together(group.cure for group in groups if group.cure)
        rules = [rule for cure in families for rule in cure.rules]
        for group in groups:
            group.is_cured = group.cure is not None and self._curer.cures(rules, group.samples)
        groups.sort(key=lambda group: (not group.finding.is_refused, -group.count))
        return Report(
            self._commands,
            tuple(groups),
            families,
            self._unread,
            tuple(sorted(self._judge.unknown)),
            self._uncounted,
        )

    def _merged(self) -> list[Group]:
        """Groups whose keys differ in names only are one."""
        layout = Layout(pattern for group in self._groups.values() for pattern in group.patterns)
        merged: dict[tuple[Kind, str, tuple[str, ...]], Group] = {}
        for group in self._groups.values():
            patterns = tuple(sorted(set(map(layout.pattern, group.patterns))))
            place = (group.finding.kind, group.finding.command, patterns)
            merged.setdefault(place, Group(group.finding, patterns)).add(group.count, group.samples)
        return list(merged.values())


def _together(cures: Iterable[Cure]) -> tuple[Cure, ...]:
    """All rules once, presets first and longer matches before shorter ones: the first that matches wins."""
    kept = list(dict.fromkeys(cures))
    return tuple(sorted(kept, key=lambda cure: (cure.preset is None, cure.is_whole, -len(cure.rules[0][0]))))
