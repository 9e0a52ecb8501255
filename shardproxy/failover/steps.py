"""The commands engines are given, every one of them. Thin: each sends, checks the answer, and says what came
of it.

Before every command the right to give it is checked, for as long as it may take: a lease is not a lock, and
we may have been asleep. Before data is given up, gate.py is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import trio

from shardproxy.failover.election import Candidate
from shardproxy.failover.gate import Seen, why_not_follow
from shardproxy.failover.interfaces import Nodes
from shardproxy.failover.setup import FailoverSettings
from shardproxy.model import Address
from shardproxy.model.replication import DEAD_END, Lineage, Replication, Role
from shardproxy.nodes import NodeError, NodeFailure, resolve
from shardproxy.store.interface import Leadership, LeadershipLostError
from shardproxy.store.record import ShardRecord
from shardproxy.wire.info import InfoError, read_fields, read_replication, read_role, read_server
from shardproxy.wire.reply import Failure, Reply
from shardproxy.wire.resp import Argument

HANDOVER_POLL = 0.02  # seconds; FAILOVER answers at once and works in the background
PING_PERIOD = 1  # seconds, of primaries to their replicas: the engine's default of 10 makes replicas blind


class StepError(Exception):
    """A command was not carried out, as far as we know; `is_refused` when the node itself said so."""

    def __init__(self, address: Address, why: str, *, is_refused: bool = False) -> None:
        super().__init__(f"{address}: {why}")
        self.address = address
        self.why = why
        self.is_refused = is_refused


@dataclass(frozen=True, slots=True)
class Primary:
    """A node that has just said that it is a primary."""

    lineage: Lineage
    run_id: str


class Steps:
    """What can be done to the nodes of a shard, for as long as we lead."""

    def __init__(self, nodes: Nodes, leadership: Leadership, settings: FailoverSettings) -> None:
        self._nodes = nodes
        self._leadership = leadership
        self._settings = settings

    async def freeze(
        self, address: Address, *, zone: str | None = None, cut_clients: bool = False
    ) -> Candidate:
        """Let a node neither take writes nor get any; return what it then has."""
        requests: list[tuple[Argument, ...]] = [
            ("REPLICAOF", DEAD_END.host, DEAD_END.port),
            ("INFO", "server"),
            ("INFO", "replication"),
            ("PING",),
            ("INFO", "keyspace"),
        ]
        if cut_clients:
            requests.append(("CLIENT", "KILL", "TYPE", "normal"))
        replies = await self._ask(address, requests, self._settings.freeze_timeout)
        if isinstance(replies[0], Failure) and "while failing over" in replies[0].text:
            requests.insert(0, ("FAILOVER", "ABORT"))
            replies = (await self._ask(address, requests, self._settings.freeze_timeout))[1:]
        _demand(address, replies[0], "REPLICAOF")
        ping = replies[3].text if isinstance(replies[3], Failure) else ""
        candidate = Candidate(
            address=address,
            replication=_replication(address, replies[2]),
            run_id=_run_id(address, replies[1]),
            zone=zone,
            keys=_keys(address, replies[4]),
            can_write=not ping.startswith("MISCONF"),
            is_loading=ping.startswith("LOADING"),
        )
        if not candidate.replication.is_frozen:
            raise StepError(address, f"follows {candidate.replication.follows} although it was frozen")
        return candidate

    async def promote(self, address: Address, run_id: str | None = None) -> Primary:
        """Make a frozen node the primary, and see that it is; with a run_id only that process."""
        replies = await self._ask(
            address,
            [("REPLICAOF", "NO", "ONE"), ("ROLE",), ("INFO", "server"), ("INFO", "replication")],
            self._settings.command_timeout,
            run_id=run_id,
        )
        _demand(address, replies[0], "REPLICAOF NO ONE")
        return _primary(address, replies[1:])

    async def inspect(self, address: Address) -> Primary:
        """See that a node is a primary."""
        requests = [("ROLE",), ("INFO", "server"), ("INFO", "replication")]
        return _primary(address, await self._ask(address, requests, self._settings.command_timeout))

    async def follow(
        self, address: Address, primary: Address, record: ShardRecord, *, cut_clients: bool = False
    ) -> None:
        """Make a node a replica of the primary, unless it would give up what the primary lacks."""
        node, to = await self._look(address), await self._look(primary)
        if (why_not := why_not_follow(node, to, record)) is not None:
            raise StepError(address, why_not)
        requests: list[tuple[Argument, ...]] = [("REPLICAOF", primary.host, primary.port)]
        if cut_clients:  # they are writers that missed the change, or readers who find their way back
            requests.append(("CLIENT", "KILL", "TYPE", "normal"))
        replies = await self._ask(address, requests, self._settings.command_timeout, run_id=node.run_id)
        _demand(address, replies[0], "REPLICAOF")

    async def catch_up(self, address: Address, source: Address, record: ShardRecord) -> None:
        """Let a node sync from one that was just promoted for that, until it has as much."""
        await self.follow(address, source, replace(record, run_id=""))
        with trio.move_on_after(self._settings.relay_timeout):
            while True:
                to, node = await self._look(source), await self._look(address)
                is_synced = node.replication.is_link_up and not node.replication.is_syncing
                has_all = node.replication.offset >= to.replication.offset
                is_one_history = node.replication.lineage.replid == to.replication.lineage.replid
                if is_synced and is_one_history and has_all:
                    return
                await trio.sleep(HANDOVER_POLL)
        raise StepError(address, f"did not catch up with {source} in time")

    async def _look(self, address: Address) -> Seen:
        requests = [("INFO", "server"), ("INFO", "replication"), ("INFO", "keyspace")]
        server, replication, keyspace = await self._ask(address, requests, self._settings.command_timeout)
        return Seen(
            address,
            _run_id(address, server),
            _replication(address, replication),
            _keys(address, keyspace),
        )

    async def count_keys(self, address: Address) -> int:
        """How many keys a node holds, in all its databases."""
        (reply,) = await self._ask(address, [("INFO", "keyspace")], self._settings.command_timeout)
        return _keys(address, reply)

    async def persist(self, address: Address) -> None:
        """Have a node's own config file say what it is now, if it has one."""
        (reply,) = await self._ask(address, [("CONFIG", "REWRITE")], self._settings.command_timeout)
        if isinstance(reply, Failure) and "without a config file" in reply.text:
            return
        _demand(address, reply, "CONFIG REWRITE")

    async def keep_on_file(self, replica: Address, primary: Address, run_id: str) -> None:
        """Have a replica's own config file say what it is set to, and that it is nobody's replica.

        Nobody sees it without its primary: it goes on by a partial sync.
        """
        requests: list[tuple[Argument, ...]] = [
            ("MULTI",),
            ("REPLICAOF", DEAD_END.host, DEAD_END.port),
            ("CONFIG", "REWRITE"),
            ("REPLICAOF", primary.host, primary.port),
            ("EXEC",),
        ]
        replies = await self._ask(replica, requests, self._settings.command_timeout, run_id=run_id)
        for reply in replies:
            _demand(replica, reply, "CONFIG REWRITE")
        done = replies[-1]
        for reply in done if isinstance(done, list) else ():
            _demand(replica, reply, "CONFIG REWRITE")

    async def configure(self, address: Address, min_replicas: int | None) -> None:
        """Set what failover needs of a node."""
        requests: list[tuple[Argument, ...]] = [("CONFIG", "SET", "repl-ping-replica-period", PING_PERIOD)]
        if min_replicas is not None:
            requests.append(("CONFIG", "SET", "min-replicas-to-write", min_replicas))
        for reply in await self._ask(address, requests, self._settings.command_timeout):
            _demand(address, reply, "CONFIG SET")

    async def hand_over(self, primary: Address, target: Address) -> Primary:
        """Let the primary hand over by itself, losing nothing.

        Raise StepError with `is_refused` when the primary is what it was; without, nobody knows.
        """
        there = await self._as_primary_sees_it(primary, target)
        timeout = self._handover_timeout(primary)
        command = ("FAILOVER", "TO", there.host, there.port, "TIMEOUT", round(timeout * 1000))
        (reply,) = await self._ask(primary, [command], self._settings.command_timeout)
        _demand(primary, reply, "FAILOVER")
        with trio.move_on_after(timeout + self._settings.command_timeout):
            while True:
                await trio.sleep(HANDOVER_POLL)
                replies = await self._ask(primary, [("INFO", "replication")], self._settings.command_timeout)
                if isinstance(replies[0], Failure):
                    continue
                seen = _replication(primary, replies[0])
                if seen.role is Role.PRIMARY and not seen.is_handing_over:
                    raise StepError(primary, "the replica did not catch up in time", is_refused=True)
                if seen.role is Role.REPLICA and (found := await self._primary_or_none(target)) is not None:
                    return found
        raise StepError(primary, "neither handed over nor gave up")

    def _handover_timeout(self, primary: Address) -> float:
        """How long the engine may work on it by itself: not longer than nobody else can lead."""
        longest = self._settings.handover_timeout
        for timeout in (longest, longest / 2, longest / 4):
            if self._leadership.covers(timeout + self._settings.command_timeout):
                return timeout
        raise StepError(primary, "the lease may run out before a handover would be over", is_refused=True)

    async def _primary_or_none(self, address: Address) -> Primary | None:
        try:
            return await self.inspect(address)
        except StepError:
            return None

    async def _as_primary_sees_it(self, primary: Address, target: Address) -> Address:
        """The replica's address in the primary's list, which FAILOVER wants; names may differ there."""
        timeout = self._settings.command_timeout
        hosts = {target.host}
        with trio.move_on_after(timeout):
            while True:  # one that has just connected is listed before it is online, and refused until then
                (reply,) = await self._ask(primary, [("INFO", "replication")], timeout)
                attached = _replication(primary, reply).attached
                if not any(replica.address == target for replica in attached):
                    hosts.update(await _resolve(target, timeout))
                for replica in attached:
                    is_it = replica.address.port == target.port and replica.address.host in hosts
                    if is_it and replica.is_online:
                        return replica.address
                await trio.sleep(HANDOVER_POLL)
        raise StepError(primary, f"does not have {target} as a replica that is online", is_refused=True)

    async def _ask(
        self,
        address: Address,
        requests: Sequence[Sequence[Argument]],
        timeout: float,
        *,
        run_id: str | None = None,
    ) -> list[Reply]:
        if not self._leadership.covers(timeout):
            raise LeadershipLostError("the lease runs out before a command would be over")
        try:
            return await self._nodes.request_many(address, requests, timeout=timeout, run_id=run_id)
        except NodeFailure as error:
            raise StepError(address, error.why) from error
        except NodeError as error:
            raise StepError(address, error.failure.text, is_refused=True) from error


async def _resolve(address: Address, timeout: float) -> Iterable[str]:
    with trio.move_on_after(timeout):
        try:
            return await resolve(address.host)
        except OSError:
            return ()
    return ()


def _demand(address: Address, reply: Reply, command: str) -> None:
    if isinstance(reply, Failure):
        raise StepError(address, f"{command}: {reply.text}", is_refused=True)


def _replication(address: Address, reply: Reply) -> Replication:
    _demand(address, reply, "INFO")
    try:
        return read_replication(read_fields(reply))
    except InfoError as error:
        raise StepError(address, str(error)) from error


def _keys(address: Address, reply: Reply) -> int:
    """From INFO keyspace."""
    _demand(address, reply, "INFO")
    total = 0
    for name, value in read_fields(reply).items():
        if name.startswith("db"):
            pairs = dict(pair.split("=", 1) for pair in value.split(",") if "=" in pair)
            total += int(pairs.get("keys", "0"))
    return total


def _run_id(address: Address, reply: Reply) -> str:
    _demand(address, reply, "INFO")
    try:
        return read_server(read_fields(reply)).run_id
    except InfoError as error:
        raise StepError(address, str(error)) from error


def _primary(address: Address, replies: Sequence[Reply]) -> Primary:
    """From ROLE, INFO server and INFO replication."""
    _demand(address, replies[0], "ROLE")
    try:
        role, _ = read_role(replies[0])
    except InfoError as error:
        raise StepError(address, str(error)) from error
    if role is not Role.PRIMARY:
        raise StepError(address, "says it is a replica")
    return Primary(_replication(address, replies[2]).lineage, _run_id(address, replies[1]))
