"""Answers what the data plane hands over: finds the handler, bounds how many run and how long.

    data plane ─ offload ─> guests ─> table ─> handler ──────────────> reply ─ answer ─> data plane
                                        └─ unknown ─> learn from the engines ─ retry ─────┘

Every offload is answered or retried, whatever becomes of its handler, unless its client has gone.
Knows no command.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import iscoroutinefunction
from types import MappingProxyType
from typing import Protocol, cast

import structlog
import trio

from shardproxy.access.log import AclLogs
from shardproxy.access.verifiers import Verifiers
from shardproxy.commands.call import Call, CommandError, EverybodyDesk, Facade, Settings, UserDesk
from shardproxy.commands.counters import Counters
from shardproxy.commands.errands import Errands
from shardproxy.commands.followers import Followers
from shardproxy.commands.handlers import CHANGES, CURES, HANDLERS, PATIENT
from shardproxy.commands.known_scripts import KnownScripts
from shardproxy.commands.learn import Learner
from shardproxy.commands.shares import Shares
from shardproxy.commands.sources import Sources
from shardproxy.commands.table import Table, lower
from shardproxy.commands.texts import unknown_subcommand
from shardproxy.dataplane import Abandoned, CacheAged, ClientDid, Event, Offloaded
from shardproxy.model import Address, Topology
from shardproxy.model.replication import ShardKey
from shardproxy.nodes import NodeError, NodeFailure, NodeLinks
from shardproxy.wire.reply import Failure, Reply, reply_encode

DEADLINE = 60.0  # seconds for a command, beside what a slow one may take; requests to nodes have less
RUNNING_PER_CLUSTER = 64  # at once; a cluster whose nodes hang must not hold up another's commands
MAX_ARGUMENTS = 1 << 16  # of what is answered here; a million would take all other clients' time
WAITING = 4096  # taken from the data plane at once; each is one client, and beyond this they wait there

log = structlog.get_logger()


class OffloadingFacade(Facade, Protocol):
    """The part of the data plane that the service uses."""

    def events(self) -> AsyncIterator[Event]: ...


class Guest(Protocol):
    """A service beside this one, which answers offloads of its own."""

    def take(self, event: Event) -> bool:
        """Have an event, if it is this one's; return at once."""


def no_settings(cluster: str) -> Settings:
    return Settings()


async def run_commands(
    dataplane: OffloadingFacade,
    topologies: Mapping[str, Topology],
    nodes: NodeLinks,
    *,
    table: Table | None = None,
    settings_of: Callable[[str], Settings] = no_settings,
    readable: Mapping[ShardKey, frozenset[Address]] = MappingProxyType({}),
    errands: Errands | None = None,
    users: UserDesk | None = None,
    refusals: AclLogs | None = None,
    verifiers: Verifiers | None = None,
    scripts: KnownScripts | None = None,
    guests: Sequence[Guest] = (),
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer offloaded commands until the data plane stops.

    `topologies` holds the current one by cluster; `table` is what the data plane started with;
    `settings_of` tells what a cluster's config says, `readable` which replicas are fit to be read from;
    in `errands` is noted what nodes may take long for; `users` are those clients log in as, `refusals` what
    they were refused; `verifiers` decide about logins that are no matter of a password; `scripts` are known.
    Each event is offered to the `guests` first.
    """
    learner = Learner(table or Table.load())
    waiting = trio.CapacityLimiter(WAITING)
    async with trio.open_nursery() as nursery:
        followers = Followers(nursery, topologies, nodes)
        service = _Service(
            dataplane,
            topologies,
            nodes,
            learner,
            followers,
            errands or Errands(),
            settings_of,
            readable,
            users or EverybodyDesk(),
            AclLogs() if refusals is None else refusals,
            verifiers,
            scripts or KnownScripts(),
        )
        task_status.started()
        async for event in dataplane.events():
            if any(guest.take(event) for guest in guests):
                continue
            if isinstance(event, Abandoned):
                service.abandon(event.token)
            elif isinstance(event, ClientDid):
                service.report(event)
            elif isinstance(event, CacheAged):
                continue  # no rule is served here
            elif is_patient(event):
                nursery.start_soon(service.serve_patient, event, service.cancellable(event))
            else:
                await waiting.acquire_on_behalf_of(event)
                nursery.start_soon(service.serve, event, service.cancellable(event), waiting)
        nursery.cancel_scope.cancel()  # nobody waits for the answers any more


@dataclass(frozen=True, slots=True)
class _Service:
    dataplane: OffloadingFacade
    topologies: Mapping[str, Topology]
    nodes: NodeLinks
    learner: Learner
    followers: Followers
    errands: Errands
    settings_of: Callable[[str], Settings]
    readable: Mapping[ShardKey, frozenset[Address]]
    users: UserDesk
    refusals: AclLogs
    verifiers: Verifiers | None = None
    scripts: KnownScripts = field(default_factory=KnownScripts)
    libraries: Sources = field(default_factory=Sources)
    counters: Counters = field(default_factory=Counters)
    shares: Shares = field(default_factory=Shares)
    running: dict[str, trio.CapacityLimiter] = field(default_factory=dict)
    patient: dict[tuple[str, str], trio.CapacityLimiter] = field(default_factory=dict)  # and by command
    scopes: dict[int, trio.CancelScope] = field(default_factory=dict)  # of what ends when its client goes
    reported: set[tuple[str, str]] = field(default_factory=set)

    def cancellable(self, offload: Offloaded) -> trio.CancelScope:
        """The scope in which to serve it, from now on cancelled when its client goes."""
        scope = self.scopes[offload.token] = trio.CancelScope()
        return scope

    def abandon(self, token: int) -> None:
        """Stop what nobody waits for, unless it may have changed something already: half of it is worse."""
        if token in self.scopes:
            self.scopes[token].cancel()

    def report(self, did: ClientDid) -> None:
        """Log it for the first client of a cluster; a counter has them all."""
        if (did.cluster, did.what) not in self.reported:
            self.reported.add((did.cluster, did.what))
            advice = "memcached deprecated it; set the client to the text or meta protocol"
            log.warning(
                "client refused", cluster=did.cluster, why=did.what, client=did.address, advice=advice
            )

    async def serve(self, offload: Offloaded, scope: trio.CancelScope, waiting: trio.CapacityLimiter) -> None:
        """Answer one offload, or have it routed again."""
        try:
            with scope:
                seconds = DEADLINE + self.settings_of(offload.cluster).slow
                with trio.move_on_after(seconds) as deadline:
                    await self._serve(offload)
                if deadline.cancelled_caught:
                    self._answer(offload, Failure(f"ERR no answer within {seconds:g} s"))
        finally:
            self.scopes.pop(offload.token, None)
            waiting.release_on_behalf_of(offload)

    async def serve_patient(self, offload: Offloaded, scope: trio.CancelScope) -> None:
        """Answer one offload that ends by a timeout of its own, or when its client goes."""
        name = lower(offload.args[0])
        patience = PATIENT[name]
        limiter = self.patient.setdefault((offload.cluster, name), trio.CapacityLimiter(patience.most))
        try:
            limiter.acquire_on_behalf_of_nowait(offload)
        except trio.WouldBlock:
            self.scopes.pop(offload.token, None)
            self._answer(offload, Failure(patience.refusal))
            return
        try:
            with scope:
                await self._serve(offload)
        finally:
            self.scopes.pop(offload.token, None)
            limiter.release_on_behalf_of(offload)

    async def _serve(self, offload: Offloaded) -> None:
        reply: Reply
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

    async def _reply(self, offload: Offloaded) -> Reply | object:
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
        if call.is_reader and command.name in CHANGES:
            raise CommandError("READONLY You can't write against a read only replica.")
        handler = HANDLERS.get(command.name)
        if handler is None:
            raise CommandError(f"ERR {command.name.replace('|', ' ').upper()} is not supported yet")
        if not iscoroutinefunction(handler):
            return cast("Reply", handler(call))
        if command.name in PATIENT:
            return cast("Reply", await handler(call))
        limiter = self.running.setdefault(offload.cluster, trio.CapacityLimiter(RUNNING_PER_CLUSTER))
        async with limiter:
            self.scopes.pop(offload.token, None)
            return cast("Reply", await handler(call))

    def _call(self, offload: Offloaded) -> Call:
        topology = self.topologies.get(offload.cluster)
        if topology is None:
            raise CommandError(f"ERR cluster {offload.cluster} is no longer served")
        return Call(
            offload,
            topology,
            self.learner.table,
            self.settings_of(offload.cluster),
            self.readable,
            self.dataplane,
            self.nodes,
            self.scripts,
            self.libraries,
            self.counters,
            self.followers,
            self.errands,
            self.shares,
            self.topologies,
            self.users,
            self.refusals,
            self.verifiers,
        )

    def _answer(self, offload: Offloaded, reply: Reply) -> None:
        self.dataplane.answer(offload.token, reply_encode(reply, offload.resp))


_RETRY = object()


def is_patient(offload: Offloaded) -> bool:
    return lower(offload.args[0]) in PATIENT


def _name(offload: Offloaded) -> str:
    return lower(offload.args[0][:64])
