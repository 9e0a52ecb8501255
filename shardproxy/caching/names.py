"""What is kept beside a key, in the key's own slot: it moves with the slot, and fails over with it. Pure.

shardproxy:lease:{TAG}:KEY    who loads the key, or that it has no row: any write deletes it   (a lease)
shardproxy:write:{TAG}:KEY    who writes the key through: only its holder ends it              (a lease)
shardproxy:new:{TAG}:KEY      what a write will make of it, before the database has committed
shardproxy:dirty:{TAG}:KEY    how many of its writes the database does not have yet
shardproxy:behind:{TAG}       these writes, in their order: a stream
shardproxy:drain:{TAG}        who brings them to the database                                (a lease)
shardproxy:dead:{TAG}         writes that the database refused, each with the reason: a stream
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

LEASES = b"shardproxy:lease:{"  # what the names of loaders' leases begin with


@dataclass(frozen=True, slots=True)
class SlotNames:
    """The names of what belongs to one slot of a cluster."""

    cluster: str
    slot: int
    tag: bytes  # a hash tag that lies in the slot

    @property
    def stream(self) -> bytes:
        return b"shardproxy:behind:{%b}" % self.tag

    @property
    def drain(self) -> bytes:
        return b"shardproxy:drain:{%b}" % self.tag

    @property
    def dead(self) -> bytes:
        return b"shardproxy:dead:{%b}" % self.tag

    def lease(self, key: bytes) -> bytes:
        return b"%b%b}:%b" % (LEASES, self.tag, key)

    def write(self, key: bytes) -> bytes:
        return b"shardproxy:write:{%b}:%b" % (self.tag, key)

    def new(self, key: bytes) -> bytes:
        return b"shardproxy:new:{%b}:%b" % (self.tag, key)

    def dirty(self, key: bytes) -> bytes:
        return b"shardproxy:dirty:{%b}:%b" % (self.tag, key)


@dataclass(frozen=True, slots=True)
class Names:
    """Makes the names of any key of any cluster."""

    slot_of: Callable[[str, bytes], int]  # by the cluster's key families; raises KeyError
    tag_of: Callable[[int], bytes]

    def of_key(self, cluster: str, key: bytes) -> SlotNames:
        """Raise KeyError where the cluster is not served."""
        return self.of_slot(cluster, self.slot_of(cluster, key))

    def of_slot(self, cluster: str, slot: int) -> SlotNames:
        return SlotNames(cluster, slot, self.tag_of(slot))
