"""Asks the nodes of a call's cluster: any of them, one shard, or every shard. Knows nothing of commands."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import trio

from shardproxy.commands.call import Call, CommandError
from shardproxy.model import Address, Node, Shard
from shardproxy.nodes import NodeError, NodeFailure, Received
from shardproxy.wire.reply import Failure, Raw, Reply
from shardproxy.wire.resp import Argument

NOT_NOW = ("LOADING", "MASTERDOWN")  # what a replica says that cannot answer reads yet, or any more
PRIMARY_POLL = 0.01  # seconds between looks for a primary
MOVED = ("MOVED", "ASK")  # what an engine in cluster mode says of what another one has
CANDIDATES = 3  # nodes tried in turn: with a timeout each, more would outlast the client's patience


@dataclass(frozen=True, slots=True)
class Answer:
    """What one shard's primary said: a reply with its bytes, an error, or why there is none."""

    shard: Shard
    reply: Reply = None
    raw: bytes = b""
    failure: Failure | None = None
    why_none: str | None = None
    is_doubtful: bool = False  # there is no reply, and it may have been executed

    @property
    def is_ok(self) -> bool:
        return self.failure is None and self.why_none is None

    @property
    def error(self) -> str:
        """The text of the error reply a client gets for it."""
        if self.failure is not None:
            return self.failure.text
        if self.shard.is_refused:
            return f"ERR shard {self.shard.label} is not served: {self.shard.why_not}"
        if self.shard.primary is None and self.shard.why_not is not None:
            return f"TRYAGAIN shard {self.shard.label}: {self.shard.why_not}, not executed there"
        if self.shard.primary is None:
            return f"TRYAGAIN shard {self.shard.label} failing over, not executed there"
        return f"ERR shard {self.shard.label}: {self.why_none}"

    def check(self) -> None:
        """Raise CommandError unless there is a reply."""
        if not self.is_ok:
            raise CommandError(self.error)


async def ask_shard(
    call: Call, shard: Shard, *args: Argument, resp: int = 2, timeout: float | None = None
) -> Answer:
    """Send one request to a shard's primary; wait for it while the shard has none, as the data plane does."""
    if shard.primary is None and not shard.is_refused:
        shard = await _wait_primary(call, shard, timeout)
    if shard.primary is None:
        return Answer(shard, why_none="it has no known primary")
    address = shard.primary.address
    try:
        received = await _request(call, address, args, resp, timeout)
        received = await _follow(call, received, args, resp, timeout)
    except NodeFailure as e:
        return Answer(shard, why_none=str(e), is_doubtful=e.is_sent)
    except NodeError as e:  # it refused the database or the RESP version
        return Answer(shard, failure=e.failure)
    if isinstance(received.reply, Failure):
        return Answer(shard, raw=received.raw, failure=received.reply)
    return Answer(shard, received.reply, received.raw)


async def _follow(
    call: Call, received: Received, args: Sequence[Argument], resp: int, timeout: float | None
) -> Received:
    """Ask whom an engine in cluster mode names instead of itself, once; clients hear of neither."""
    if not isinstance(received.reply, Failure) or received.reply.code not in MOVED:
        return received
    _, _, where = received.reply.text.rpartition(" ")
    named = next((node.address for node in call.topology.nodes if str(node.address) == where), None)
    if named is not None:
        async with call.nodes.borrow(named, timeout) as link:
            if received.reply.code == "ASK":
                await link.request("ASKING", resp=resp, db=call.db)
            received = await link.request_raw(*args, resp=resp, db=call.db, timeout=timeout)
    if isinstance(received.reply, Failure) and received.reply.code in MOVED:
        failure = Failure("TRYAGAIN the slot moves, command not executed")
        return Received(failure, f"-{failure.text}\r\n".encode())
    return received


async def _request(
    call: Call, address: Address, args: Sequence[Argument], resp: int, timeout: float | None
) -> Received:
    """Send one request to a node; one that may take long has longer, and whoever watches the node knows."""
    command, cluster = call.table.find(call.args), call.topology.cluster
    with contextlib.ExitStack() as stack:
        if command is not None and call.errands.may_be_slow(cluster, command):
            errand = call.errands.under_way(cluster, address, command.name, call.offload.client_id)
            stack.enter_context(errand)
            timeout = call.settings.slow if timeout is None else timeout
        return await call.nodes.request_raw(address, *args, resp=resp, db=call.db, timeout=timeout)


async def _wait_primary(call: Call, shard: Shard, timeout: float | None) -> Shard:
    with trio.move_on_after(call.settings.park if timeout is None else min(timeout, call.settings.park)):
        while True:
            now = call.topologies.get(call.topology.cluster)
            found = now.shard_numbered(shard.number) if now is not None else None
            if found is not None and (found.primary is not None or found.is_refused):
                return replace(found, index=shard.index)
            await trio.sleep(PRIMARY_POLL)
    return shard


async def ask_to_read(
    call: Call, shard: Shard, *args: Argument, resp: int = 2, timeout: float | None = None
) -> Answer:
    """As ask_shard, of what any node can tell: on the reader endpoint a replica, if one can answer.

    It is the first one that can, for a cursor means something only to the node that gave it.
    """
    for place in _places_to_read(call, shard):
        answer = await ask_shard(call, place, *args, resp=resp, timeout=timeout)
        is_refused = answer.failure is not None and answer.failure.code in NOT_NOW
        if answer.why_none is None and not is_refused:
            break
    return answer


def _places_to_read(call: Call, shard: Shard) -> list[Shard]:
    if not call.is_reader:
        return [shard]
    fit = call.readable.get(call.topology.key_of(shard))
    replicas = [replica for replica in shard.replicas if fit is None or replica.address in fit]
    return [*replicas_of([replace(shard, replicas=tuple(replicas))]), shard]


async def ask_every_to_read(
    call: Call, *args: Argument, resp: int = 2, timeout: float | None = None
) -> list[Answer]:
    """As ask_every, of what any node of a shard can tell."""
    answers: dict[int, Answer] = {}

    async def ask(shard: Shard) -> None:
        answers[shard.index] = await ask_to_read(call, shard, *args, resp=resp, timeout=timeout)

    async with trio.open_nursery() as nursery:
        for shard in call.topology.shards:
            nursery.start_soon(ask, shard)
    return [answers[shard.index] for shard in call.topology.shards]


async def ask_each(
    call: Call, requests: Mapping[int, Sequence[Argument]], *, resp: int = 2, timeout: float | None = None
) -> list[Answer]:
    """Send each of these shards (by index) its request, at once; answers in the shards' order."""
    shards = [shard for shard in call.topology.shards if shard.index in requests]
    answers: dict[int, Answer] = {}

    async def ask(shard: Shard) -> None:
        request = requests[shard.index]
        answers[shard.index] = await ask_shard(call, shard, *request, resp=resp, timeout=timeout)

    async with trio.open_nursery() as nursery:
        for shard in shards:
            nursery.start_soon(ask, shard)
    return [answers[shard.index] for shard in shards]


async def ask_every(call: Call, *args: Argument, resp: int = 2, timeout: float | None = None) -> list[Answer]:
    """Send one request to every shard's primary at once; one answer per shard, in the shards' order."""
    requests = {shard.index: args for shard in call.topology.shards}
    return await ask_each(call, requests, resp=resp, timeout=timeout)


async def ask_nodes(call: Call, *args: Argument, resp: int = 2, timeout: float | None = None) -> list[Answer]:
    """Send one request to every node at once, replicas too; the primaries' answers come first."""
    shards = call.topology.shards
    return await _ask_places(call, [*shards, *replicas_of(shards)], args, resp, timeout)


async def ask_replicas(
    call: Call, shards: Sequence[Shard], *args: Argument, timeout: float | None = None
) -> list[Answer]:
    """Send one request to every replica of these shards at once."""
    return await _ask_places(call, replicas_of(shards), args, 2, timeout)


def replicas_of(shards: Sequence[Shard]) -> list[Shard]:
    """Each replica in its primary's place."""
    return [replace(shard, primary=node, replicas=()) for shard in shards for node in shard.replicas]


async def _ask_places(
    call: Call, places: Sequence[Shard], args: Sequence[Argument], resp: int, timeout: float | None
) -> list[Answer]:
    answers: dict[int, Answer] = {}

    async def ask(number: int, place: Shard) -> None:
        answers[number] = await ask_shard(call, place, *args, resp=resp, timeout=timeout)

    async with trio.open_nursery() as nursery:
        for number, place in enumerate(places):
            nursery.start_soon(ask, number, place)
    return [answers[number] for number in range(len(places))]


async def ask_all(call: Call, *args: Argument, resp: int = 2, timeout: float | None = None) -> list[Answer]:
    """As ask_every, for when every shard's reply is needed; raise CommandError with the first error."""
    answers = await ask_every(call, *args, resp=resp, timeout=timeout)
    for answer in answers:
        answer.check()
    return answers


async def ask_any(call: Call, *args: Argument, resp: int = 2, timeout: float | None = None) -> Reply:
    """Send one request to the first node that answers, primaries first.

    Raise CommandError for its error reply, or when none answers.
    """
    received = await _receive_any(call, args, resp, timeout)
    if isinstance(received.reply, Failure):
        raise CommandError(received.reply.text)
    return received.reply


async def pass_any(call: Call, *args: Argument, timeout: float | None = None) -> Raw:
    """Send one request to the first node that answers, primaries first, and pass on its very bytes."""
    received = await _receive_any(call, args, call.resp, timeout)
    return Raw(received.raw)


async def _receive_any(call: Call, args: Sequence[Argument], resp: int, timeout: float | None) -> Received:
    for node in _candidates(call):
        try:
            return await _request(call, node.address, args, resp, timeout)
        except NodeFailure as e:
            last = e
        except NodeError as e:
            raise CommandError(e.failure.text) from e
    raise CommandError(f"ERR no node of cluster {call.topology.cluster} answers: {last}")


def _candidates(call: Call) -> list[Node]:
    shards = call.topology.shards
    primaries = [shard.primary for shard in shards if shard.primary]
    replicas = [node for shard in shards for node in shard.replicas]
    nodes = [*primaries, *replicas][:CANDIDATES]
    if not nodes:
        raise CommandError(f"ERR cluster {call.topology.cluster} has no nodes")
    return nodes
