"""How much a shard's slots hold, by a sample of its keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import trio

from shardproxy.failover.interfaces import Nodes
from shardproxy.model import Address
from shardproxy.model.slots import Slots, slots_count, slots_each
from shardproxy.wire.reply import Reply

PER_SCAN = 500  # keys that an engine looks at in one SCAN: well under a millisecond of it
TIMEOUT = 2.0  # seconds for one answer
SHARE = 5.0  # a pause is so many times as long as the node took, less once: others have four fifths of it
OWN = 90  # bytes that a small key has beside its value, about


@dataclass(frozen=True, slots=True)
class Sample:
    """Some keys of one engine: SCAN goes by hashes, so the first ones are as good as any."""

    keys: int = 0  # looked at
    per_slot: Mapping[int, int] = field(default_factory=dict)
    bytes_per_slot: Mapping[int, int] = field(default_factory=dict)  # MEMORY USAGE of those that were weighed
    weighed: int = 0  # keys
    is_whole: bool = False  # these are all

    def share(self, slots: Slots, owned: Slots) -> float:
        """Which part of the keys these slots have; of one without keys to look at, by the slots it owns."""
        if not self.keys:
            return slots_count(slots) / max(1, slots_count(owned))
        return sum(self.per_slot.get(slot, 0) for slot in slots_each(slots)) / self.keys

    @property
    def bytes_each(self) -> float:
        """Of a key in the mean; 0 where none was weighed."""
        return sum(self.bytes_per_slot.values()) / self.weighed if self.weighed else 0.0


def rest_after(took: float) -> float:
    """Seconds to leave a node to others that was busy with us for so long."""
    return took * (SHARE - 1.0)


async def sample(
    nodes: Nodes, address: Address, slot_of: Callable[[bytes], int], *, keys: int, weighed: int
) -> Sample:
    """Look at that many keys at least, if there are, and weigh some; raise NodeFailure or NodeError.

    The node has most of the time for others.
    """
    per_slot: Counter[int] = Counter()
    sizes: Counter[int] = Counter()
    seen = sized = 0
    cursor = b"0"
    while True:
        asked_at = trio.current_time()
        (page,) = await nodes.request_many(
            address, [("SCAN", cursor, "COUNT", str(PER_SCAN))], timeout=TIMEOUT
        )
        cursor, found = page_read(page)
        per_slot.update(map(slot_of, found))
        seen += len(found)
        if chosen := found[: max(0, weighed - sized)]:
            asked = [("MEMORY", "USAGE", key) for key in chosen]
            answers = await nodes.request_many(address, asked, timeout=TIMEOUT)
            for key, size in zip(chosen, answers, strict=True):
                if isinstance(size, int):
                    sizes[slot_of(key)] += size
                    sized += 1
        if cursor == b"0" or seen >= keys:
            return Sample(seen, per_slot, sizes, sized, is_whole=cursor == b"0")
        await trio.sleep(rest_after(trio.current_time() - asked_at))


class ScanError(Exception):
    """SCAN did not answer as it should."""


def page_read(reply: Reply) -> tuple[bytes, list[bytes]]:
    """SCAN: the next cursor, and keys; raise ScanError."""
    match reply:
        case [bytes() as cursor, Sequence() as keys]:
            return cursor, [key for key in keys if isinstance(key, bytes)]
    raise ScanError(f"SCAN replied {reply!r:.80}")
