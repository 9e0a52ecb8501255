"""The seal of a shard's slots: a script that its primary has until some may leave. Pure.

    generation 7: script 7 is there   hold, as some may leave: 8 on record, script 8 is put ─> they leave

Who is out of touch with the store asks its primary after each write: script 7 and no script 8 means that
what was written is still there to be moved. A script is no key, so nobody is shown it, nothing evicts it, and
FLUSHALL leaves it; it goes with the process, and a process without it says nothing of any slots. Its text
names the group that shares the store: another store's numbers begin anew.
"""

from __future__ import annotations

import hashlib
from typing import TypeAlias

from shardproxy.model.replication import ShardKey

Seal: TypeAlias = tuple[str, str]  # SHA1 of the script that has to be there, and of the one that must not


def seal_script(group: str, key: ShardKey, generation: int) -> str:
    """What the primary is to have; running it does nothing."""
    return f"return 1 -- shardproxy {group} {key.cluster}/{key.index} serves its slots as of {generation}"


def seal_of(group: str, key: ShardKey, generation: int) -> Seal:
    """What to ask for."""
    return _digest(group, key, generation), _digest(group, key, generation + 1)


def _digest(group: str, key: ShardKey, generation: int) -> str:
    script = seal_script(group, key, generation).encode()
    return hashlib.sha1(script, usedforsecurity=False).hexdigest()
