"""Who shares the store and may still serve clients.

A member is one from before it serves until nobody can be served by it any more: it has left, or its lease
has ended. A proxy that is alone is the case of one member.
"""

from __future__ import annotations

from dataclasses import dataclass

from shardproxy.model.board import Board


@dataclass(frozen=True, slots=True)
class Member:
    """One process."""

    name: str


Members = Board[str, Member]  # by name


def members_alone(name: str) -> Members:
    """The members where nobody else can open the store: a local file is locked by its only one."""
    members: Members = Board()
    members.show(name, Member(name))
    return members
