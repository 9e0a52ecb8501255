"""Rules as they are followed: which keys, what their parts are, how long values live. Knows no source."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from random import Random

from shardproxy.caching.matching import pattern_regex
from shardproxy.caching.sources.interface import Given, Loaded, Parts, SourceRefusedError
from shardproxy.caching.values import Command, Shape, commands_of, given_by_fields, given_by_text
from shardproxy.config import caching as config
from shardproxy.config.caching import KEY, Form, LoadFailure, WriteMode
from shardproxy.config.patterns import PARTS


class Age(Enum):
    """What a value that is there is like."""

    FRESH = "fresh"
    AHEAD = "ahead"  # fresh, and loaded again before it expires
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens to the keys of a pattern. Times are milliseconds."""

    index: int  # among the cluster's rules, as the data plane counts
    config: config.Rule
    pattern: re.Pattern[bytes]
    names: tuple[str, ...]  # of the parts
    ttl: int | None  # without jitter and what is stale; None: as the client says
    serve: int  # what a value is served beyond ttl
    missing: int  # for which a key without a row is known to have none; 0: not

    @property
    def match(self) -> str:
        """The pattern as it is written: what people know the rule by."""
        return self.config.match

    @property
    def source(self) -> str | None:
        """From where it is loaded."""
        return self.config.load.source if self.config.load is not None else None

    @property
    def write_source(self) -> str | None:
        """Where writes go."""
        return self.config.write_source

    @property
    def mode(self) -> WriteMode:
        return self.config.write.mode if self.config.write is not None else WriteMode.NONE

    @property
    def on_failure(self) -> LoadFailure:
        return self.config.on_failure

    @property
    def form(self) -> Form:
        """What clients find, and write."""
        return self.config.load.form if self.config.load is not None else self.config.written_form

    def parts(self, key: bytes) -> Parts | None:
        """The parts of a key; None when it does not match, or no database has such: not UTF-8, or a NUL."""
        found = self.pattern.fullmatch(key)
        if found is None or b"\0" in key:
            return None
        try:
            parts = {name: part.decode() for name, part in found.groupdict().items()}
            parts[KEY] = key.decode()
        except UnicodeDecodeError:
            return None
        return parts

    def key_of(self, parts: Mapping[str, object]) -> bytes | None:
        """The only key of these parts; None where one is missing, or the pattern leaves more of it open."""
        written, has_name = [], False
        for part in PARTS.finditer(self.match):
            match part.lastgroup:
                case "text":
                    written.append(part[0])
                case "name" if part["name"] in parts:
                    has_name = True
                    written.append(str(parts[part["name"]]))
                case _:
                    return None
        key = "".join(written).encode()
        return key if has_name and self.pattern.fullmatch(key) else None

    def ttl_ms(self, random: Random) -> int:
        """How long a value lives in the engine: jitter taken off, the time it is served stale added.

        0 where the rule says nothing of it.
        """
        if self.ttl is None:
            return 0
        return max(1, round(self.ttl * (1 - self.config.jitter * random.random()))) + self.serve

    def age(self, left: int) -> Age:
        """What a value is like that has so much of its life left (PTTL); negative: it lives forever."""
        if left < 0 or self.ttl is None:
            return Age.FRESH
        if self.serve and left <= self.serve:
            return Age.STALE
        ahead = self.config.refresh_ahead
        if ahead is not None and left <= self.serve + (1 - ahead) * self.ttl:
            return Age.AHEAD
        return Age.FRESH

    def due_in(self, left: int) -> int:
        """For how long nobody need ask about the age of a value that has so much left; 0: it is due."""
        if left < 0 or self.ttl is None:
            return 3_600_000
        ahead = self.config.refresh_ahead
        due = self.serve + ((1 - ahead) * self.ttl if ahead is not None else 0)
        return max(0, round(left - due))

    def fill(self, key: bytes, loaded: Loaded) -> list[Command]:
        """The commands that make the value, without its TTL; none: there is no value after all.

        Raise SourceRefusedError when what was loaded does not make one.
        """
        load = self.config.load
        if load is None:
            raise SourceRefusedError(f"the rule of {self.match} loads nothing")
        return commands_of(key, loaded, Shape(load.form, load.rows_wanted, load.limit))

    def given_text(self, raw: bytes) -> Given:
        """What SET and the like give the statement; raise SourceRefusedError."""
        return given_by_text(self.config.written_form, raw)

    def given_fields(self, fields: Mapping[bytes, bytes]) -> Given:
        """What HSET and the like give the statement."""
        return given_by_fields(fields)


def compile_rule(index: int, rule: config.Rule) -> Rule:
    """Make a rule of the config one that is followed."""
    return Rule(
        index,
        rule,
        pattern_regex(rule.match),
        rule.names,
        None if rule.ttl is None else round(rule.ttl * 1000),
        round(rule.stale.serve * 1000),
        round(rule.missing.ttl * 1000),
    )


def compile_rules(rules: Iterable[config.Rule]) -> tuple[Rule, ...]:
    """All rules of a cluster, in their order."""
    return tuple(compile_rule(index, rule) for index, rule in enumerate(rules))


def rule_of(rules: Iterable[Rule], key: bytes) -> Rule | None:
    """The first that matches."""
    return next((rule for rule in rules if rule.pattern.fullmatch(key)), None)


def keys_of(rules: Iterable[Rule], parts: Mapping[str, object]) -> list[bytes]:
    """The keys of these parts, by all rules that have no other parts, each once."""
    made = (rule.key_of(parts) for rule in rules)
    return list(dict.fromkeys(key for key in made if key is not None))
