"""What is taken and done in one round: values, and what is known of them. Knows nothing of engines."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

from shardproxy.caching.engines import Process
from shardproxy.caching.names import SlotNames
from shardproxy.caching.plan import Plan
from shardproxy.caching.sources.interface import WriteOf
from shardproxy.wire.reply import Reply


@dataclass(frozen=True, slots=True)
class Note:
    """One write, as it stands in its slot's stream."""

    id: bytes
    key: bytes
    kind: bytes  # of the value: string, hash or none
    value: Reply

    @classmethod
    def read(cls, entry: Reply) -> Note:
        number, words = cast("tuple[bytes, list[bytes]]", entry)
        kind = words[3]
        value: Reply = words[4:] if kind == b"hash" else words[5] if kind == b"string" else None
        return cls(number, words[1], kind, value)


@dataclass(frozen=True, slots=True)
class Taken:
    """The oldest notes of a slot, which we have the lease of."""

    names: SlotNames
    process: Process
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class Work:
    """A note to bring to where its key's rule says."""

    taken: Taken
    note: Note
    plan: Plan

    @property
    def slot(self) -> int:
        return self.taken.names.slot

    def write(self) -> WriteOf | None:
        """What the database is to do; raise SourceRefusedError. None: nothing, as the rule has no delete."""
        op, given = self.plan.given(self.note.kind, self.note.value)
        if op == "delete" and not self.plan.deletes:
            return None
        return self.plan.rule, self.plan.parts(self.note.key), op, given


@dataclass(slots=True)
class Round:
    """What comes of one look at some slots, by one drainer."""

    token: bytes
    lease_ms: int
    suspects: Collection[int]  # slots that failed lately: each has transactions of its own
    after: dict[int, bytes]  # by slot, where notes before it are of no rule: it is looked behind these
    left: set[int]  # slots that may have more
    busy: set[int] = field(default_factory=set)  # slots that another proxy drains
    failed: set[int] = field(default_factory=set)
    is_fine: bool = True  # the sources answer
    taken: list[Taken] = field(default_factory=list)
    done: list[Work] = field(default_factory=list)
    settled: set[tuple[int, bytes]] = field(default_factory=set)  # notes by slot and id: done, or dead
    in_a_row: int = 0  # slots that failed alone

    def open(self, works: Iterable[Work]) -> list[Work]:
        """Those that are worth trying, in their order."""
        return [w for w in works if w.slot not in self.failed and (w.slot, w.note.id) not in self.settled]

    def settle(self, works: Iterable[Work]) -> None:
        self.settled.update((work.slot, work.note.id) for work in works)


def batches(works: Sequence[Work], size: int, suspects: Collection[int]) -> Iterator[Sequence[Work]]:
    """At most so many notes each; slots that failed lately come last, and alone."""
    good: list[Work] = []
    alone: dict[int, list[Work]] = {}
    for work in works:
        (alone.setdefault(work.slot, []) if work.slot in suspects else good).append(work)
    for group in (good, *alone.values()):
        yield from (group[at : at + size] for at in range(0, len(group), size))
