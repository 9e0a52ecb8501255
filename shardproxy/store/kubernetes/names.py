"""How the objects of a store are called and labelled. Pure.

    NAME.CLUSTER          its leader and its records: what is fenced by one resourceVersion
    NAME.CLUSTER.KIND     its notes of a kind
    NAME.CLUSTER.renew    touched each second by its leader, for followers
    NAME.member.MEMBER    what a member announces
    NAME.alive.MEMBER     its heartbeat, with its acknowledgements and votes

A dot stands in no part, so no two things have the same name.
"""

from __future__ import annotations

import enum
import hashlib
import re
from dataclasses import dataclass

from shardproxy.store.notes import NoteKind

LABEL_NAME = "shardproxy/name"
LABEL_KIND = "shardproxy/kind"
MANAGED = {"app.kubernetes.io/managed-by": "shardproxy"}
MAX_LABEL = 63  # characters


class Kind(enum.Enum):
    """What an object is for."""

    CLUSTER = "cluster"
    NOTES = "notes"
    RENEW = "renew"
    MEMBER = "member"
    ALIVE = "alive"

    @property
    def is_lasting(self) -> bool:
        """Whether no process of ours ever deletes one."""
        return self in (Kind.CLUSTER, Kind.NOTES)


@dataclass(frozen=True, slots=True)
class Names:
    """Of the objects of proxies that decide together, which is what `name` says."""

    name: str

    def cluster(self, cluster: str) -> str:
        return f"{self.name}.{slug(cluster)}"

    def notes(self, cluster: str, kind: NoteKind) -> str:
        return f"{self.cluster(cluster)}.{kind.value}"

    def renew(self, cluster: str) -> str:
        return f"{self.cluster(cluster)}.renew"

    def member(self, member: str) -> str:
        return f"{self.name}.member.{slug(member)}"

    def alive(self, member: str) -> str:
        return f"{self.name}.alive.{slug(member)}"

    def labels(self, kind: Kind) -> dict[str, str]:
        return {**MANAGED, LABEL_NAME: slug(self.name), LABEL_KIND: kind.value}

    def selector(self, *, without: Kind) -> str:
        """What selects all of these objects but those of a kind."""
        return f"{LABEL_NAME}={slug(self.name)},{LABEL_KIND}!={without.value}"


def slug(text: str) -> str:
    """The text as one part of an object's name; what does not fit is told apart by a hash."""
    if re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", text) and len(text) <= MAX_LABEL:
        return text
    fit = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[: MAX_LABEL - 11].rstrip("-") or "x"
    return f"{fit}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
