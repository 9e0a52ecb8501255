"""What one node of a Redis Cluster says of all: CLUSTER NODES, with the addresses of CLUSTER SLOTS. Pure.

    <id> <ip:port@cport[,hostname]> <flags> <primary> <ping> <pong> <config epoch> <link> <slot> <slot> ...

(cluster.c, clusterGenNodeDescription; the last are numbers, ranges, and `[slot->-id]` while one moves.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from shardproxy.model import SLOT_COUNT, Address, SlotRange
from shardproxy.wire.reply import Reply

# Of these nobody knows where they are, or whether they are who they say.
STRANGERS = frozenset({"handshake", "noaddr"})


class ViewError(Exception):
    """What a node says is no CLUSTER NODES."""


@dataclass(frozen=True, slots=True)
class Member:
    """A node as another one sees it."""

    id: str
    address: Address | None  # None: nobody knows, or it is in handshake
    is_primary: bool
    primary_id: str | None  # of a replica
    epoch: int  # its configuration epoch: the higher claim to a slot counts
    slots: tuple[SlotRange, ...] = ()
    has_failed: bool = False  # a majority has agreed that it has
    is_doubted: bool = False  # that one node cannot reach it


@dataclass(frozen=True, slots=True)
class View:
    """All that one node says."""

    me: Member
    members: Mapping[str, Member]  # by their ids, itself among them
    run_id: str = ""  # of the process that says so

    @property
    def primaries(self) -> frozenset[str]:
        """Those that have slots and so a voice."""
        return frozenset(member.id for member in self.members.values() if member.is_primary and member.slots)


def view_read(text: str, asked: Address, endpoints: Mapping[str, Address] | None = None) -> View:
    """Read CLUSTER NODES of the node that was asked there; raise ViewError.

    `endpoints`: by which address the cluster wants a node to be called, by id.
    """
    endpoints = endpoints or {}
    me: Member | None = None
    members: dict[str, Member] = {}
    for line in text.splitlines():
        if not line.strip():
            continue
        member, is_me = _member(line, asked.host)
        if member.address is not None and member.id in endpoints:
            member = replace(member, address=endpoints[member.id])
        members[member.id] = member
        me = member if is_me else me
    if me is None:
        raise ViewError("no node of these is the one that was asked (CLUSTER NODES has no myself)")
    return View(me, members)


def _member(line: str, host: str) -> tuple[Member, bool]:
    words = line.split()
    if len(words) < 8:
        raise ViewError(f"not a line of CLUSTER NODES: {line[:100]!r}")
    node, where, flags, primary, _, _, epoch, _, *slots = words
    flagged = frozenset(flags.split(","))
    is_known = not flagged & STRANGERS
    member = Member(
        id=node,
        address=_address(where, host) if is_known else None,
        is_primary="master" in flagged,
        primary_id=None if primary == "-" else primary,
        epoch=_number(epoch, line),
        slots=tuple(_slots(word, line) for word in slots if not word.startswith("[")),
        has_failed="fail" in flagged,
        is_doubted="fail?" in flagged,
    )
    return member, "myself" in flagged


def _address(where: str, host: str) -> Address | None:
    """`ip:port@cport,hostname`; without an ip it is the one that was asked at, as with MOVED."""
    ip, _, port = where.split(",")[0].split("@")[0].rpartition(":")
    if not port.isdigit() or not 0 < int(port) < 65536:
        return None
    return Address(ip.strip("[]") or host, int(port))


def _slots(word: str, line: str) -> SlotRange:
    first, _, last = word.partition("-")
    slots = SlotRange(_number(first, line), _number(last or first, line))
    if not slots.first <= slots.last < SLOT_COUNT:
        raise ViewError(f"no such slots: {word!r}")
    return slots


def _number(word: str, line: str) -> int:
    if not word.isascii() or not word.isdigit():
        raise ViewError(f"not a number, {word!r}, in: {line[:100]!r}")
    return int(word)


def endpoints_read(reply: Reply, asked: Address) -> dict[str, Address]:
    """By which address each node of CLUSTER SLOTS is to be called, as MOVED calls it, by id.

    One that has none (`cluster-preferred-endpoint-type unknown-endpoint`) is where the asked one is.
    """
    endpoints: dict[str, Address] = {}
    for entry in reply if isinstance(reply, list) else []:
        for node in entry[2:] if isinstance(entry, list) else []:
            match node:
                case [bytes() | None as name, int() as port, bytes() as node_id, *_]:
                    host = name.decode(errors="replace") if name else asked.host
                    endpoints[node_id.decode(errors="replace")] = Address(
                        asked.host if host == "?" else host, port
                    )
    return endpoints
