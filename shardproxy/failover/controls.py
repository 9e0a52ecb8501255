"""What an operator asks of failover: switch over, promote by force, pause, acknowledge."""

from __future__ import annotations

from dataclasses import dataclass

import trio

from shardproxy.model import Address
from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey

PATIENCE = 10.0  # seconds until a controller takes a request
DEADLINE = 30.0  # seconds until the asker hears how far it came


@dataclass(slots=True, eq=False)
class Request:
    """A change of primary that somebody waits for; the answer is None, or why it did not happen."""

    to: Address | None  # None = the best replica
    is_forced: bool  # promote it whatever its data
    is_test: bool  # ElastiCache's TestFailover
    answer: trio.MemorySendChannel[str | None]
    is_taken: bool = False  # by a controller: it is not withdrawn any more


class Controls:
    """One process's operator desk; the controller is the only reader of the boards."""

    def __init__(self) -> None:
        self.requests: Board[ShardKey, Request] = Board()
        self.paused: Board[str, bool] = Board()  # clusters
        self.acknowledged: Board[ShardKey, int] = Board()

    async def switch_over(
        self, key: ShardKey, to: Address | None = None, *, is_test: bool = False
    ) -> str | None:
        """Hand a shard over to a replica, losing nothing; return why it was not done, or None."""
        return await self._ask(key, to, is_forced=False, is_test=is_test)

    async def promote(self, key: ShardKey, to: Address) -> str | None:
        """Make a node the primary although its data may be old; return why it was not done, or None."""
        return await self._ask(key, to, is_forced=True, is_test=False)

    def pause(self, cluster: str) -> None:
        """No automatic failover in a cluster until it is resumed."""
        self.paused.show(cluster, True)

    def resume(self, cluster: str) -> None:
        self.paused.hide(cluster)

    def acknowledge(self, key: ShardKey) -> None:
        """The cause of a shard's last failover was looked into: the next one need not wait."""
        self.acknowledged.show(key, self.acknowledged.get(key, 0) + 1)

    async def _ask(self, key: ShardKey, to: Address | None, *, is_forced: bool, is_test: bool) -> str | None:
        if key in self.requests:
            return "another change of its primary is under way"
        answer, answered = trio.open_memory_channel[str | None](1)
        request = Request(to, is_forced, is_test, answer)
        self.requests.show(key, request)
        try:
            with trio.move_on_after(PATIENCE) as patience:
                return await answered.receive()
            if patience.cancelled_caught and request.is_taken:
                with trio.move_on_after(DEADLINE - PATIENCE):
                    return await answered.receive()
        except trio.EndOfChannel:
            return "the controller stopped before it was done"
        finally:
            if not request.is_taken and self.requests.get(key) is request:
                self.requests.hide(key)  # nobody does it later by surprise
        if request.is_taken:
            return (
                f"it is still under way after {DEADLINE:.0f} s: see shardproxy status and shardproxy events"
            )
        return (
            f"no controller took it within {PATIENCE:.0f} s, so nothing was done: is the state file writable?"
        )
