"""Asks the primary of a slot, whoever that is by now. Knows nothing of leases and rules.

A request that was not executed is sent again, to the primary of then, until the deadline: slots move and
shards fail over. One that may have been executed is sent again only where that changes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import trio

from shardproxy.caching.scripts import Script
from shardproxy.model import Address, Topology
from shardproxy.model.replication import ShardKey
from shardproxy.nodes import NodeError, NodeFailure, NodeLinks, NodeTimeout
from shardproxy.wire.reply import Failure, Reply
from shardproxy.wire.resp import Argument

FIRST_PAUSE = 0.01  # seconds before a request is sent again
LONGEST_PAUSE = 0.2
NOT_NOW = frozenset({"MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "READONLY", "LOADING", "MASTERDOWN", "BUSY"})
TIMEOUT = 2.0  # seconds for one exchange

Request = Sequence[Argument]


class EngineDownError(Exception):
    """No primary did it in time; `is_doubtful` says whether one may have.

    The text is for clients: without addresses. `detail` is for operators.
    """

    def __init__(self, why: str, detail: str, *, is_doubtful: bool) -> None:
        super().__init__(why)
        self.detail = detail
        self.is_doubtful = is_doubtful


class EngineRefusedError(Exception):
    """The engine replied with an error, which this is."""

    @property
    def detail(self) -> str:
        return str(self)


@dataclass(frozen=True, slots=True)
class Place:
    """A slot of a cluster."""

    cluster: str
    slot: int


@dataclass(frozen=True, slots=True)
class Process:
    """Who answered: a primary, as the process that it was then."""

    address: Address
    run_id: str


_Ask: TypeAlias = Callable[[Process, float], Awaitable[list[Reply]]]


@dataclass(frozen=True, slots=True)
class Call:
    """A script with its keys, all of one slot, and its arguments."""

    script: Script
    keys: Sequence[bytes]
    args: Sequence[Argument]

    def by_digest(self) -> Request:
        return ("EVALSHA", self.script.digest, len(self.keys), *self.keys, *self.args)

    def by_body(self) -> Request:
        return ("EVAL", self.script.body, len(self.keys), *self.keys, *self.args)


class Engines:
    """The primaries of all clusters, as they are by now."""

    def __init__(
        self,
        topologies: Mapping[str, Topology],
        nodes: NodeLinks,
        run_id_of: Callable[[ShardKey], str | None] = lambda key: None,
    ) -> None:
        self._topologies = topologies
        self._nodes = nodes
        self._run_id_of = run_id_of

    def primary(self, place: Place) -> Process | None:
        """Who has the slot now, if anybody has."""
        topology = self._topologies.get(place.cluster)
        shard = topology.shard_of(place.slot) if topology is not None else None
        if topology is None or shard is None or shard.primary is None:
            return None
        return Process(shard.primary.address, self._run_id_of(topology.key_of(shard)) or "")

    def slots(self, cluster: str) -> list[tuple[Process, list[int]]]:
        """All slots of a cluster by who has them; without those that nobody has now."""
        topology = self._topologies.get(cluster)
        return [
            (
                Process(shard.primary.address, self._run_id_of(topology.key_of(shard)) or ""),
                [slot for r in shard.slots for slot in range(r.first, r.last + 1)],
            )
            for shard in (topology.shards if topology is not None else ())
            if topology is not None and shard.primary is not None
        ]

    async def evaluate(
        self,
        place: Place,
        call: Call,
        *,
        deadline: float,
        repeats: bool = True,
        behind: Request | None = None,
    ) -> list[Reply]:
        """The script's reply, and that to a request `behind` it on the same connection.

        Raise EngineRefusedError for an error that the script ended with, or EngineDownError. With `repeats`
        unset it is not sent again once it may have been executed.
        """
        more = [behind] if behind is not None else []

        async def ask(process: Process, timeout: float) -> list[Reply]:
            replies = await self._ask(process, [call.by_digest(), *more], timeout)
            if isinstance(replies[0], Failure) and replies[0].code == "NOSCRIPT":
                replies = await self._ask(process, [call.by_body(), *more], timeout)
            return replies

        return await self._until(place, ask, deadline, repeats)

    async def request(self, place: Place, *args: Argument, deadline: float, repeats: bool = True) -> Reply:
        """The reply to one request; errors as of `evaluate`."""
        return (await self.request_in_turn(place, [args], deadline=deadline, repeats=repeats))[0]

    async def request_in_turn(
        self, place: Place, requests: Sequence[Request], *, deadline: float, repeats: bool = True
    ) -> list[Reply]:
        """The replies to requests that go out together; the first one's error as of `evaluate`."""

        async def ask(process: Process, timeout: float) -> list[Reply]:
            return await self._ask(process, requests, timeout)

        return await self._until(place, ask, deadline, repeats)

    async def evaluate_all(
        self, process: Process, calls: Sequence[Call], timeout: float, *, behind: Request | None = None
    ) -> list[Reply]:
        """Many scripts in one write to one primary, errors as Failure; the last reply is that to `behind`.

        Raise NodeFailure, NodeError.
        """
        more = [behind] if behind is not None else []
        replies = await self._ask(process, [*(call.by_digest() for call in calls), *more], timeout)
        lacking = [at for at, reply in enumerate(replies) if _is_lacking(reply)]
        if lacking:
            again = await self._ask(process, [*(calls[at].by_body() for at in lacking), *more], timeout)
            places = [*lacking, *([len(calls)] if more else [])]
            for at, reply in zip(places, again, strict=True):
                replies[at] = reply
        return replies

    async def request_all(
        self, process: Process, requests: Sequence[Request], timeout: float = TIMEOUT
    ) -> list[Reply]:
        """Many requests in one write to one primary, errors as Failure; raise NodeFailure, NodeError."""
        return await self._ask(process, requests, timeout)

    async def _ask(self, process: Process, requests: Sequence[Request], timeout: float) -> list[Reply]:
        return await self._nodes.request_many(
            process.address, requests, timeout=timeout, run_id=process.run_id or None
        )

    async def _until(self, place: Place, ask: _Ask, deadline: float, repeats: bool) -> list[Reply]:
        pause, is_doubtful = FIRST_PAUSE, False
        why = detail = "there was no time left to ask its primary"
        while True:
            process = self.primary(place)
            left = deadline - trio.current_time()
            if process is None:
                why = detail = "it has no known primary"
            if process is not None and left > 0:
                try:
                    replies = await ask(process, min(left, TIMEOUT))
                except NodeFailure as error:
                    detail, is_doubtful = str(error), is_doubtful or error.is_sent
                    is_slow = isinstance(error, NodeTimeout)
                    why = "its primary did not answer in time" if is_slow else "its primary cannot be reached"
                except NodeError as error:  # it refused the login
                    why, detail = f"its primary says {error.code}", str(error)
                else:
                    failure = replies[0] if isinstance(replies[0], Failure) else None
                    if failure is None:
                        return replies
                    if failure.code not in NOT_NOW:
                        raise EngineRefusedError(failure.text)
                    why, detail = f"its primary says {failure.code}", failure.text
            if deadline - trio.current_time() <= pause or (is_doubtful and not repeats):
                raise EngineDownError(f"slot {place.slot}: {why}", detail, is_doubtful=is_doubtful)
            await trio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)


def _is_lacking(reply: Reply) -> bool:
    return isinstance(reply, Failure) and reply.code == "NOSCRIPT"
