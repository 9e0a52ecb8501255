"""What failover needs of the rest of the process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from shardproxy.failover.setup import ShardSetup
from shardproxy.model import Address
from shardproxy.model.replication import ShardKey
from shardproxy.store.record import ShardRecord
from shardproxy.wire.reply import Reply
from shardproxy.wire.resp import Argument


class FenceError(Exception):
    """A proxy did not do what it was told in time, and may still serve."""


class Fencer(Protocol):
    """The proxies' data planes: those of all proxies that serve the shard.

    Each follows the records by itself. A record without a primary fences: connections to the one that was
    are closed, and what was not sent waits. Once it is served no older reply becomes an acknowledgement.
    """

    async def wait_served(self, record: ShardRecord) -> None:
        """Return when every live proxy serves the shard as this record says, or as a later one.

        Raise FenceError when one does not in time: it may serve what was before.
        """

    async def wait_everywhere(self, record: ShardRecord, *, within: float) -> None:
        """As `wait_served`, in so many seconds, and of all proxies also where a promotion waits for none."""

    def served(self, key: ShardKey) -> int:
        """The `changed` of the record that every live proxy serves, or a later one; 0 = none."""


@dataclass(frozen=True, slots=True)
class Objection:
    """Why silence that this process sees proves nothing of a primary."""

    why: str
    is_outvoted: bool  # so many of the others get answers that one of them had better lead


class Witnesses(Protocol):
    """The other proxies that watch a shard."""

    def objection(self, key: ShardKey, primary: Address) -> Objection | None:
        """What speaks against silence that this process sees: too many of them know better. Or None."""

    def why_down(self, key: ShardKey, primary: Address) -> str | None:
        """That more than half find a primary down which this process reaches. Or None."""


class NobodyElse:
    """This proxy is alone."""

    def objection(self, key: ShardKey, primary: Address) -> Objection | None:
        return None

    def why_down(self, key: ShardKey, primary: Address) -> str | None:
        return None


class SlotDesk(Protocol):
    """What the leader of one cluster may change of which shard has which slots.

    Everything raises LeadershipLostError once this process leads no more: stop at once, another one goes on.
    """

    @property
    def cluster(self) -> str: ...

    @property
    def term(self) -> int:
        """Grows with every leader of the cluster."""

    @property
    def setups(self) -> Mapping[ShardKey, ShardSetup]:
        """The shards of the cluster as configured, those without slots among them."""

    @property
    def records(self) -> Mapping[ShardKey, ShardRecord]:
        """Those of the cluster, as they are now."""

    def covers(self, seconds: float) -> bool:
        """Whether nobody else can lead for so long from now: what is asked of an engine is over by then."""

    @property
    def lingers(self) -> float:
        """For how many seconds after `wait_served` somebody whom nobody waits for may serve as before."""

    def seals(self, record: ShardRecord, latest: int = 1) -> tuple[str, ...]:
        """The scripts that nodes of the shard are to have (model/seal.py), the latest first.

        None where nobody can be out of touch and write all the same.
        """

    @property
    def wrote_in(self) -> float:
        """How many seconds the store took for what was last written, be it a note."""

    async def change(self, changes: Mapping[ShardKey, Callable[[ShardRecord], ShardRecord]]) -> None:
        """Replace these records all at once, or none, each by what its function makes of it.

        Only `slots`, `hold` and `is_mixed` are changed this way, and every slot has one owner before and
        after, or it is a ValueError. Slots leave a shard only while it is on record that all requests for
        them wait there, and `wait_served` has found that so. A function may be asked more than once, and may
        refuse by what it raises: of a shard that has failed over meanwhile the epoch is another one. At most
        MAX_TOGETHER shards; durable when it returns.

        It waits for a failover of one of them to end; only holds are taken away, and `is_mixed`, also
        meanwhile. Raise NotSettledError when a shard has no primary now or the change is not possible now,
        StoreUnavailableError (it may yet have been made: look at the records) or LeadershipLostError.
        """

    async def wait_served(self, keys: Iterable[ShardKey], *, within: float) -> None:
        """Return when every live proxy serves these shards as they are on record now, or later.

        What their records hold waits there then, and nothing of it is under way any more. Raise FenceError,
        which names who does not, or says that a shard fails over.
        """


class NotSettledError(Exception):
    """A shard has no primary now, or is not as it would have to be: try again."""


LeaderService = Callable[[SlotDesk], Awaitable[None]]  # runs while this process leads the desk's cluster


class Nodes(Protocol):
    """Connections to engines."""

    async def request_many(
        self,
        address: Address,
        requests: Sequence[Sequence[Argument]],
        *,
        timeout: float,
        run_id: str | None = None,
    ) -> list[Reply]:
        """A reply for each, errors as values; raise NodeUnreachable, NodeTimeout or NodeError (login).

        With a run_id nothing is sent to another process than that: NodeUnreachable.
        """
