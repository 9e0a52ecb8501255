"""Whether replicas have what their primary has.

WAIT alone does not tell: from Redis 7.2 on, as in Valkey, it is about what its own connection has written.
So it only has the primary ask its replicas, and what INFO shows afterwards counts. Who only reads the stream
shows port 0, and is no replica.
"""

from __future__ import annotations

import trio

from shardproxy.failover.interfaces import Nodes
from shardproxy.model import Address
from shardproxy.model.replication import Replication, Role
from shardproxy.wire.info import read_fields, read_replication

WAIT = 1.0  # seconds in which replicas are to have it
TIMEOUT = 5.0  # seconds for an answer, beside the wait
TURN = 0.001  # seconds between questions, at least
EVERYBODY = 1 << 20  # so many replicas that WAIT never has them: it asks those there are
LOOK = ("INFO", "replication")


async def replicas_wait(
    nodes: Nodes, address: Address, run_id: str, count: int, *, within: float = WAIT
) -> bool:
    """Whether so many replicas have all that the node has now within so many seconds.

    False also of a node that is no primary. Raise NodeFailure or InfoError.
    """
    if not count:
        return True
    until = trio.current_time() + within
    wanted: int | None = None
    asked: list[tuple[str, ...]] = [LOOK, _wait(count, within), LOOK]
    while True:
        replies = await nodes.request_many(address, asked, timeout=within + TIMEOUT, run_id=run_id)
        if wanted is None:
            wanted = read_replication(read_fields(replies[0])).offset
        now = read_replication(read_fields(replies[-1]))
        if now.role is not Role.PRIMARY:
            return False
        if _having(now, wanted) >= count:
            return True
        if trio.current_time() + TURN >= until:
            return False
        await trio.sleep(TURN)
        asked = [_wait(EVERYBODY, TURN), LOOK]


def _wait(count: int, within: float) -> tuple[str, ...]:
    return "WAIT", str(count), str(max(1, round(within * 1000)))


def _having(primary: Replication, offset: int) -> int:
    replicas = (one for one in primary.attached if one.address.port and one.is_online)
    return sum(one.offset >= offset for one in replicas)
