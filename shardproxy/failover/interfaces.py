"""What failover needs of the rest of the process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from shardproxy.model import Address
from shardproxy.model.replication import ShardKey
from shardproxy.store.record import ShardRecord
from shardproxy.wire.reply import Reply
from shardproxy.wire.resp import Argument


class FenceError(Exception):
    """A proxy did not do what it was told in time, and may still serve."""


class Fencer(Protocol):
    """The proxies' data planes: those of all proxies that serve the shard.

    Each call names an epoch; one that is older than what a proxy has seen of the shard changes nothing.
    Raise FenceError.
    """

    async def fence(self, key: ShardKey, epoch: int, primary: Address | None) -> None:
        """Close the connections to the shard's primary and park what was not sent.

        Returns when every proxy has done so, or can no longer serve. From then on no reply of an older epoch
        becomes an acknowledgement.
        """

    async def park(self, key: ShardKey, epoch: int) -> None:
        """Park what is not sent yet, let the replies of what was sent come in, and return when all are."""

    async def publish(self, record: ShardRecord) -> None:
        """Serve the shard as the record says; what is parked goes to its primary."""


class Nodes(Protocol):
    """Connections to engines."""

    async def request_many(
        self, address: Address, requests: Sequence[Sequence[Argument]], *, timeout: float
    ) -> list[Reply]:
        """A reply for each, errors as values; raise NodeUnreachable, NodeTimeout or NodeError (login)."""
