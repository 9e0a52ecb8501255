"""Where everything is in etcd, below the prefix. Pure.

group                       a name for what shares the prefix
leader/CLUSTER              who leads it                                   (leased)
shard/CLUSTER/NUMBER        a record
member/NAME                 what it says of itself                         (leased)
ack/NAME/CLUSTER            of each shard: the change that it serves       (leased)
vote/NAME/CLUSTER           of some shards: what it finds of the primary   (leased)
note/CLUSTER/KIND/NAME      what outlives all of them
renew/CLUSTER               touched by its leader each second, for those that only read
"""

from __future__ import annotations

from urllib.parse import quote, unquote

from shardproxy.model.replication import ShardKey
from shardproxy.store.notes import NoteKey, NoteKind

GROUP, LEADER, SHARD, MEMBER, ACK, VOTE, NOTE, RENEW = (
    "group", "leader", "shard", "member", "ack", "vote", "note", "renew",
)  # fmt: skip


class Keys:
    """The names of keys, and what they name."""

    def __init__(self, prefix: str) -> None:
        self.first = prefix.rstrip("/") + "/"
        self.end = self.first[:-1] + "0"  # the character after the slash

    @property
    def group(self) -> str:
        return self._key(GROUP)

    def leader(self, cluster: str) -> str:
        return self._key(LEADER, cluster)

    def renew(self, cluster: str) -> str:
        return self._key(RENEW, cluster)

    def shard(self, key: ShardKey) -> str:
        return self._key(SHARD, key.cluster, str(key.index))

    def member(self, name: str) -> str:
        return self._key(MEMBER, name)

    def ack(self, name: str, cluster: str) -> str:
        return self._key(ACK, name, cluster)

    def vote(self, name: str, cluster: str) -> str:
        return self._key(VOTE, name, cluster)

    def note(self, key: NoteKey) -> str:
        return self._key(NOTE, key.cluster, key.kind.value, key.name)

    def notes(self, cluster: str, kind: NoteKind) -> str:
        """What the keys of all notes of a kind begin with."""
        return self._key(NOTE, cluster, kind.value, "")

    def parts(self, key: str) -> tuple[str, ...]:
        """The kind of a key, and its names."""
        return tuple(map(unquote, key.removeprefix(self.first).split("/")))

    def _key(self, *parts: str) -> str:
        return self.first + "/".join(quote(part, safe="") for part in parts)
