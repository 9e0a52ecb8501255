"""A rule with its sources and the times that go with it: what everything here goes by. No I/O of its own."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import cast

from shardproxy.caching.rules import Rule
from shardproxy.caching.sources.interface import (
    Given,
    Loaded,
    Operation,
    Source,
    SourceDownError,
    SourceRefusedError,
    Writing,
)
from shardproxy.config import caching as config
from shardproxy.config.caching import Form, LoadFailure, WriteMode
from shardproxy.wire.reply import Reply

LIMIT = 10_000  # writes that wait for a cluster's databases
AT_ONCE = 10
STEP = 1.0  # seconds for an engine, beside what the source may take
RANDOM = random.Random()


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What happens to the keys of one rule of one cluster."""

    cluster: str
    rule: Rule
    source: Source | None  # from where it is loaded
    target: Source | None  # where writes go
    timeout: float  # seconds that the slower of the two may take for one answer
    wait: int = 0  # replicas that have a write before it is acknowledged
    wait_within: float = 1.0  # seconds for that
    limit: int = LIMIT
    at_once: int = AT_ONCE  # keys that reads of many have loaded at once

    @property
    def waiting(self) -> tuple[str, int, int] | None:
        """The request, behind a write, that asks how many replicas have it; None where none need to."""
        return ("WAIT", self.wait, max(1, int(1000 * self.wait_within))) if self.wait else None

    @property
    def match(self) -> str:
        return self.rule.match

    @property
    def loads(self) -> bool:
        return self.source is not None

    @property
    def mode(self) -> WriteMode:
        return self.rule.mode

    @property
    def deletes(self) -> bool:
        """Whether the database has a DEL, too."""
        write = self.rule.config.write
        return write is not None and write.delete is not None

    @property
    def fails_as_miss(self) -> bool:
        """Whether clients hear of a failure as if there were nothing."""
        return self.rule.on_failure is LoadFailure.MISS

    @property
    def keeps_stale(self) -> bool:
        """Whether an old value is kept for as long as the source is down."""
        return self.rule.on_failure is LoadFailure.STALE

    @property
    def missing_ms(self) -> int:
        return self.rule.missing

    @property
    def lease_ms(self) -> int:
        """Longer than its holder may need: to load, to write, and to tell the engine."""
        return int(1000 * (2 * self.timeout + 2 * STEP))

    @property
    def patience(self) -> float:
        """Seconds that a client waits: until a lease that nobody gave back has ended, and once more."""
        return self.lease_ms / 1000 + self.timeout + STEP

    @property
    def write_within(self) -> float:
        """Seconds for a statement, and its commit."""
        return 2 * self.timeout + STEP

    def ttl_ms(self) -> int:
        """How long a value lives from now; 0: without end."""
        return self.rule.ttl_ms(RANDOM)

    def parts(self, key: bytes) -> Mapping[str, str]:
        """Raise SourceRefusedError where no source has such a key."""
        if (parts := self.rule.parts(key)) is None:
            raise SourceRefusedError("the key is not UTF-8 without NUL: no database has such")
        return parts

    async def load(self, key: bytes) -> Loaded | None:
        """Ask the source, if there is one; raise SourceError."""
        if self.source is None or (parts := self.rule.parts(key)) is None:
            return None
        return await self.source.load(self.rule, parts)

    def given(self, kind: bytes, value: Reply) -> tuple[Operation, Given]:
        """What a value of that type makes the database do; raise SourceRefusedError."""
        if kind == b"none":
            return "delete", {}
        is_hash = self.rule.config.written_form is Form.HASH
        if kind not in (b"hash", b"string") or is_hash != (kind == b"hash"):
            wanted = "hash" if is_hash else "string"
            raise SourceRefusedError(f"it is a {kind.decode()}, and the rule writes a {wanted}")
        if is_hash:
            words = cast("Sequence[bytes]", value)
            return "upsert", self.rule.given_fields(dict(zip(words[::2], words[1::2], strict=True)))
        return "upsert", self.rule.given_text(cast("bytes", value))

    def writing(self, key: bytes, op: Operation, given: Given) -> AbstractAsyncContextManager[Writing]:
        """Raise SourceError, here or on entry."""
        if self.target is None:
            raise SourceDownError("the source of the rule is not open")
        return self.target.writing(self.rule, self.parts(key), op, given)


class Plans:
    """The plans of all clusters; `plans_of` has those of one as configured now, in the order of its rules.

    There may be none yet of the rules that are configured: `rules_of` has these.
    """

    def __init__(
        self,
        plans_of: Callable[[str], tuple[Plan, ...]],
        rules_of: Callable[[str], Sequence[config.Rule]] = lambda cluster: (),
    ) -> None:
        self._plans_of = plans_of
        self.rules = rules_of

    def all(self, cluster: str) -> tuple[Plan, ...]:
        return self._plans_of(cluster)

    def is_lacking(self, cluster: str) -> bool:
        """Whether there are rules, and no plans of them."""
        return not self.all(cluster) and bool(self.rules(cluster))

    def fails_as_miss(self, cluster: str, index: int | None) -> bool:
        """What clients are to hear of a rule, by its place in the config, whose source is not there."""
        rules = self.rules(cluster)
        return index is not None and index < len(rules) and rules[index].on_failure is LoadFailure.MISS

    def of(self, cluster: str, key: bytes) -> Plan | None:
        """That of the first rule that matches a key."""
        return next((plan for plan in self._plans_of(cluster) if plan.rule.pattern.fullmatch(key)), None)

    def written(self, cluster: str, key: bytes) -> Plan | None:
        """The same, if the rule writes to a database now, in whichever way."""
        plan = self.of(cluster, key)
        return plan if plan is not None and plan.target is not None else None
