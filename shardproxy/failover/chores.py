"""What other services of a leader ask of a shard's task: no change of primary comes between there."""

from __future__ import annotations

from dataclasses import dataclass, field

import trio

from shardproxy.model import Address
from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey


@dataclass(slots=True, eq=False)
class Chore:
    """Have a managed replica's own config file say what it is set to, while it follows that primary."""

    node: Address
    run_id: str
    primary: Address
    is_done: bool = False
    why_not: str | None = None  # the node's reason
    over: trio.Event = field(default_factory=trio.Event)

    def end(self, why_not: str | None = None, *, is_done: bool = False) -> None:
        self.is_done, self.why_not = is_done, why_not
        self.over.set()


class Chores:
    """At most one a shard; whoever asks withdraws what was not begun."""

    def __init__(self) -> None:
        self.wanted: Board[ShardKey, Chore] = Board()

    async def ask(self, key: ShardKey, chore: Chore, *, within: float) -> str | None:
        """Have it done if the shard's task gets to it in time; the node's reason why not, or None."""
        self.wanted.show(key, chore)
        try:
            with trio.move_on_after(within):
                await chore.over.wait()
        finally:
            if self.wanted.get(key) is chore:
                self.wanted.hide(key)
        return chore.why_not
