"""Answers what the data plane hands over: finds the handler, bounds how many run and how long.

    data plane ─ offload ─> table ─> handler ──────────────> reply ─ answer ─> data plane
                              └─ unknown ─> learn from the engines ─ retry ─────┘

Every offload is answered or retried, whatever becomes of its handler. Knows no command.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from inspect import iscoroutinefunction
from typing import Protocol, cast

import structlog
import trio

from shardproxy.commands.call import Call, CommandError, Facade
from shardproxy.commands.handlers import CURES, HANDLERS, PATIENT
from shardproxy.commands.learn import Learner
from shardproxy.commands.scripts import Scripts
from shardproxy.commands.table import Table, lower
from shardproxy.commands.texts import unknown_subcommand
from shardproxy.config import ConfigurationEndpoint
from shardproxy.dataplane import Offload
from shardproxy.model import Topology
from shardproxy.nodes import NodeError, NodeFailure, NodeLinks
from shardproxy.wire.reply import Failure, Reply, reply_encode

DEADLINE = 60.0  # seconds for a command; requests to nodes have shorter ones of their own
PATIENT_DEADLINE = 4000.0  # seconds for a command that ends by a timeout of its own, an hour at most
RUNNING_PER_CLUSTER = 64  # at once; a cluster whose nodes hang must not hold up another's commands
MAX_ARGUMENTS = 1 << 16  # of what is answered here; a million would take all other clients' time
WAITING = 4096  # taken from the data plane at once; each is one client, and beyond this they wait there

log = structlog.get_logger()


class OffloadingFacade(Facade, Protocol):
    """The part of the data plane that the service uses."""

    def offloads(self) -> AsyncIterator[Offload]: ...


def no_configuration(cluster: str) -> ConfigurationEndpoint | None:
    return None


async def run_commands(
    dataplane: OffloadingFacade,
    topologies: Mapping[str, Topology],
    nodes: NodeLinks,
    *,
    table: Table | None = None,
    configuration_of: Callable[[str], ConfigurationEndpoint | None] = no_configuration,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer offloaded commands until the data plane stops.

    `topologies` holds the current one by cluster; `table` is what the data plane started with;
    `configuration_of` tells a cluster's configuration endpoint (its mode, what it advertises).
    """
    learner = Learner(table or Table.load())
    service = _Service(dataplane, topologies, nodes, learner, Scripts(), configuration_of, {})
    waiting = trio.CapacityLimiter(WAITING)
    async with trio.open_nursery() as nursery:
        task_status.started()
        async for offload in dataplane.offloads():
            await waiting.acquire_on_behalf_of(offload)
            nursery.start_soon(service.serve, offload, waiting)
        nursery.cancel_scope.cancel()  # nobody waits for the answers any more


@dataclass(frozen=True, slots=True)
class _Service:
    dataplane: OffloadingFacade
    topologies: Mapping[str, Topology]
    nodes: NodeLinks
    learner: Learner
    scripts: Scripts
    configuration_of: Callable[[str], ConfigurationEndpoint | None]
    running: dict[str, trio.CapacityLimiter]
    reported: set[tuple[str, str]] = field(default_factory=set)

    async def serve(self, offload: Offload, waiting: trio.CapacityLimiter) -> None:
        """Answer one offload, or have it routed again."""
        try:
            seconds = PATIENT_DEADLINE if lower(offload.args[0]) in PATIENT else DEADLINE
            with trio.move_on_after(seconds) as scope:
                await self._serve(offload)
            if scope.cancelled_caught:
                self._answer(offload, Failure(f"ERR no answer within {seconds:g} s"))
        finally:
            waiting.release_on_behalf_of(offload)

    async def _serve(self, offload: Offload) -> None:
        reply: Reply
        if offload.token == 0:  # nobody waits: the data plane reports what a client did
            self._report(offload)
            return
        try:
            found = await self._reply(offload)
            if found is _RETRY:
                self.dataplane.retry(offload.token)
            else:
                self._answer(offload, cast("Reply", found))
            return
        except CommandError as e:
            reply = Failure(str(e))
        except NodeError as e:
            reply = e.failure
        except NodeFailure as e:
            reply = Failure(f"ERR {e}")
        except Exception as e:  # one command's bug must not end every client's commands
            log.exception("command failed", command=_name(offload), cluster=offload.cluster)
            reply = Failure(f"ERR {_name(offload)} failed in the proxy: {type(e).__name__}")
        self._answer(offload, reply)

    async def _reply(self, offload: Offload) -> Reply | object:
        call = self._call(offload)
        command = call.table.find(call.args)
        if command is None or not offload.known:  # what the table knows may have another name in this cluster
            await self.learner.learn(call, lower(call.args[0]))
            return _RETRY
        if not command.is_arity(len(call.args)):
            raise CommandError(f"ERR wrong number of arguments for '{command.name}' command")
        if command.subcommands and len(call.args) > 1:
            raise CommandError(unknown_subcommand(call.args))
        if len(call.args) > MAX_ARGUMENTS and command.name not in CURES:
            raise CommandError(f"ERR more than {MAX_ARGUMENTS} arguments")
        handler = HANDLERS.get(command.name)
        if handler is None:
            raise CommandError(f"ERR {command.name.replace('|', ' ').upper()} is not supported yet")
        if not iscoroutinefunction(handler):
            return cast("Reply", handler(call))
        if command.name in PATIENT:
            return cast("Reply", await handler(call))
        limiter = self.running.setdefault(offload.cluster, trio.CapacityLimiter(RUNNING_PER_CLUSTER))
        async with limiter:
            return cast("Reply", await handler(call))

    def _call(self, offload: Offload) -> Call:
        topology = self.topologies.get(offload.cluster)
        if topology is None:
            raise CommandError(f"ERR cluster {offload.cluster} is no longer served")
        configuration = self.configuration_of(offload.cluster)
        return Call(
            offload,
            topology,
            self.learner.table,
            configuration,
            self.dataplane,
            self.nodes,
            self.scripts,
        )

    def _report(self, offload: Offload) -> None:
        """Log it for the first client of a cluster; a counter has them all."""
        what = offload.args[0].decode()
        if (offload.cluster, what) not in self.reported:
            self.reported.add((offload.cluster, what))
            advice = "memcached removed it; set the client to the text or meta protocol"
            log.warning(
                "client refused",
                cluster=offload.cluster,
                why=what,
                client=offload.local_address,
                advice=advice,
            )

    def _answer(self, offload: Offload, reply: Reply) -> None:
        self.dataplane.answer(offload.token, reply_encode(reply, offload.resp))


_RETRY = object()


def _name(offload: Offload) -> str:
    return lower(offload.args[0][:64])
