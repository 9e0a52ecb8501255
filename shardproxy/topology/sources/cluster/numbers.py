"""By which number each shard of a Redis Cluster is known, for good. Pure.

A shard is who its members are: after a failover its primary is one of them, after a slot moved it still is.
One that has lost all its slots keeps its number for as long as that may come back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shardproxy.topology.sources.cluster.decide import Group

MAX_NUMBER = 249  # a cluster has 250 shards at most
MAX_GONE = 250  # members that are remembered though they are in no shard: those of a cluster before


@dataclass(frozen=True, slots=True)
class Numbers:
    """The number of each node's shard, by node id; who has left stays until others need the room."""

    of: Mapping[str, int] = field(default_factory=dict)

    def given(self, groups: Sequence[Group]) -> tuple[Numbers, dict[int, Group]]:
        """Number these; who is known keeps its number, the primary's word first."""
        numbered: dict[int, Group] = {}
        new: list[Group] = []
        for group in groups:
            number = self._known(group)
            if number is None or number in numbered:
                new.append(group)
            else:
                numbered[number] = group
        taken = {*numbered, *self.of.values()}
        for group in new:
            free = [number for number in range(MAX_NUMBER + 1) if number not in numbered]
            number = next((number for number in free if number not in taken), free[0])
            numbered[number] = group
        present = {node: number for number, group in numbered.items() for node in group.ids}
        past = {
            node: number
            for node, number in self.of.items()
            if node not in present and number not in {*numbered}
        }
        # the same shard by members that are away for the moment
        away = {
            node: number for node, number in self.of.items() if node not in present and number in numbered
        }
        kept = {**past, **away}
        kept = dict(list(kept.items())[-MAX_GONE:])
        return Numbers({**kept, **present}), dict(sorted(numbered.items()))

    def under(self, noted: Numbers) -> Numbers:
        """What is noted goes before these: others serve shards by it. Of these stays what is free there."""
        taken = set(noted.of.values())
        own = {node: n for node, n in self.of.items() if node not in noted.of and n not in taken}
        return Numbers({**own, **noted.of})

    def _known(self, group: Group) -> int | None:
        if group.primary in self.of:
            return self.of[group.primary]
        known = [self.of[node] for node in sorted(group.ids) if node in self.of]
        return max(set(known), key=known.count) if known else None
