"""Which member is which entry of its primary's list of replicas. Pure.

A primary lists replicas by the address they connect from, or the one they announce, and by the port they
announce or listen on: not by the names of our config. Who is in the list and no member is a stranger: a
backup reader, somebody else's replica. What a stranger has confirmed is safe with nobody we could promote.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from shardproxy.model import Address


@dataclass(frozen=True, slots=True)
class Member:
    """What is known of one that may be in the list."""

    address: Address
    peer: str = ""  # the IP address we reach it at
    announced: Address | None = None  # as it tells its primary; host "" or port 0 = what shows by itself
    is_in_sync: bool = False  # with that primary, by its own word

    @property
    def port(self) -> int:
        return (self.announced.port if self.announced else 0) or self.address.port

    @property
    def hosts(self) -> frozenset[str]:
        if self.announced is not None and self.announced.host:
            return frozenset({self.announced.host})
        return frozenset({self.peer, self.address.host}) - {""}


@dataclass(frozen=True, slots=True)
class Attachment:
    """The members as their primary lists them, and who else is in the list."""

    seen_as: Mapping[Address, Address]
    strangers: tuple[Address, ...] = ()


NOBODY = Attachment({})


def attachment(listed: Sequence[Address], members: Iterable[Member]) -> Attachment:
    """Match by address; else, where just one of each is left on a port, they are the same."""
    found: dict[Address, Address] = {}
    left: list[Member] = []
    for member in members:
        entry = next((e for e in listed if e.port == member.port and e.host in member.hosts), None)
        if entry is not None:
            found[member.address] = entry
        else:
            left.append(member)
    unmatched = [entry for entry in listed if entry.port and entry not in found.values()]
    missing = [member for member in left if member.is_in_sync]
    entries, wanted = Counter(e.port for e in unmatched), Counter(m.port for m in missing)
    for member in missing:
        if entries[member.port] == wanted[member.port] == 1:
            found[member.address] = next(e for e in unmatched if e.port == member.port)
    known = set(found.values())
    return Attachment(found, tuple(entry for entry in listed if entry not in known))
