"""One of two Redis: its keys, and whom to ask for each of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import trio

from shardproxy.importing.access import TIMEOUTS, Access
from shardproxy.importing.errors import ForeignError
from shardproxy.importing.find import find
from shardproxy.importing.found import Found, Kind
from shardproxy.importing.url import Foreign
from shardproxy.model import SLOT_COUNT, Address
from shardproxy.model.slots import slot_of
from shardproxy.model.together import together
from shardproxy.nodes import NodeError, NodeFailure, NodeLink
from shardproxy.wire.reply import Failure, Reply
from shardproxy.wire.resp import Argument

MOVES = 10  # times the owner of a slot may turn out to be another one, in one question
GAP = 0.2  # seconds until it is asked again
SCAN_COUNT = 500

Request = tuple[Argument, ...]


class Side:
    """See above. Only its primaries are asked: replicas lag."""

    def __init__(self, name: str, foreign: Foreign, access: Access, found: Found) -> None:
        self.name = name  # A or B
        self.found = found
        self._foreign = foreign
        self._access = access
        self._links: dict[Address, NodeLink] = {}
        self._owners: list[Address | None] = []
        self._take(found)

    def __str__(self) -> str:
        return f"{self.name}, {self._foreign}"

    @property
    def has_expiretime(self) -> bool:
        """PEXPIRETIME is known: since 7.0."""
        return all(facts.release >= (7, 0) for facts in self.found.facts.values())

    @property
    def has_field_ttl(self) -> bool:
        """Fields of hashes may expire."""
        least = {"redis": (7, 4), "valkey": (9, 0)}
        return all(facts.release >= least[facts.engine] for facts in self.found.facts.values())

    @property
    def keys(self) -> int:
        """As of when it was found."""
        return self.found.keys.get(self._foreign.database, 0)

    async def scan(self, match: str | None) -> AsyncGenerator[list[bytes], None]:
        """All keys, some more than once; a Redis Cluster's that moves meanwhile may show one less.

        Raise ForeignError.
        """
        for shard in self.found.shards:
            cursor = b"0"
            while True:
                more = ("MATCH", match) if match is not None else ()
                (reply,) = await self._ask(shard.primary, [("SCAN", cursor, *more, "COUNT", SCAN_COUNT)])
                match reply:
                    case [bytes() as cursor, list() as keys]:
                        yield [key for key in keys if isinstance(key, bytes)]
                    case _:
                        raise ForeignError(f"{self}: SCAN replied {reply!r:.80}")
                if cursor == b"0":
                    break

    async def ask(self, requests: Sequence[tuple[bytes, Request]]) -> list[Reply]:
        """A reply for each request about a key, errors as values; raise ForeignError."""
        replies: dict[int, Reply] = {}
        for turn in range(MOVES + 1):
            left = [place for place in range(len(requests)) if place not in replies]
            by_owner: dict[Address, list[int]] = {}
            for place in left:
                by_owner.setdefault(self._owner(requests[place][0]), []).append(place)

            said = await together(
                *(
                    partial(self._ask, owner, [requests[place][1] for place in places])
                    for owner, places in by_owner.items()
                )
            )
            for places, some in zip(by_owner.values(), said, strict=True):
                replies.update(zip(places, some, strict=True))
            moved = [place for place, reply in replies.items() if _has_moved(reply)]
            if not moved:
                return [replies[place] for place in range(len(requests))]
            for place in moved:
                del replies[place]
            await trio.sleep(GAP * (turn + 1))
            self._take(await find(self._foreign, self._access))
        raise ForeignError(f"{self}: slots move so fast that nobody knows where keys are: try again later")

    def close(self) -> None:
        for link in self._links.values():
            link.close()

    def _take(self, found: Found) -> None:
        owners: list[Address | None] = [None] * SLOT_COUNT
        for shard in found.shards:
            for slots in shard.slots:
                owners[slots.first : slots.last + 1] = [shard.primary] * len(slots)
        self.found, self._owners = found, owners

    def _owner(self, key: bytes) -> Address:
        if self.found.kind is not Kind.REDIS_CLUSTER:
            return self.found.shards[0].primary
        owner = self._owners[slot_of(key)]
        if owner is None:
            raise ForeignError(f"{self}: nobody has slot {slot_of(key)}")
        return owner

    async def _ask(self, node: Address, requests: Sequence[Request]) -> list[Reply]:
        link = self._links.get(node)
        if link is None:
            login, tls = self._access.login, self._access.node_tls
            link = self._links[node] = NodeLink(
                node, credentials=lambda: login, tls=lambda: tls, timeouts=TIMEOUTS
            )
        try:
            return await link.request_many(requests, db=self._foreign.database)
        except NodeError as error:
            raise ForeignError(f"{self}: node {node}: {error.failure.text}") from None
        except NodeFailure as error:
            raise ForeignError(f"{self}: node {node}: {error.why}") from None


def _has_moved(reply: Reply) -> bool:
    return isinstance(reply, Failure) and reply.code in ("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN")


@asynccontextmanager
async def side_open(name: str, foreign: Foreign) -> AsyncIterator[Side]:
    """Find it; raise ForeignError."""
    access = Access.read(foreign)
    async with AsyncExitStack() as stack:
        side = Side(name, foreign, access, await find(foreign, access))
        stack.callback(side.close)
        yield side
