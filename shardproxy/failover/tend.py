"""One shard, tended by the leader: decides what it needs, does it, and waits for news."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace

import trio
import trio.lowlevel

from shardproxy.failover.adoption import Adopt, Adoption, Build, Conflict, NotYet, is_heard
from shardproxy.failover.backoff import NO_FAILOVER_YET
from shardproxy.failover.controls import Controls, Request
from shardproxy.failover.decide import (
    Accept,
    FailOver,
    Heal,
    Hold,
    Nothing,
    Register,
    Situation,
    Update,
    decide,
    switchover_target,
)
from shardproxy.failover.events import EventLog, EventName
from shardproxy.failover.healing import Action, Configure, Follow, Joined, Persist
from shardproxy.failover.interfaces import FenceError, Fencer
from shardproxy.failover.machine import Kind, Run, Step
from shardproxy.failover.runner import Runner
from shardproxy.failover.setup import FailoverSettings, ShardSetup, record_new
from shardproxy.failover.steps import StepError, Steps
from shardproxy.failover.sync import SyncLog
from shardproxy.model import Address
from shardproxy.model.board import Board
from shardproxy.model.health import NodeHealth, NodeKey
from shardproxy.model.replication import Lineage, Role, ShardKey
from shardproxy.store.interface import ConflictError, Leadership, Store, StoreUnavailableError
from shardproxy.store.record import ShardRecord, ShardState

REDO = 1.0  # seconds until something that could not be done is tried again


class Bell:
    """Wakes every shard's task: something may have changed for it."""

    def __init__(self) -> None:
        self._rung = trio.Event()

    def ring(self) -> None:
        self._rung.set()
        self._rung = trio.Event()

    @property
    def next(self) -> trio.Event:
        """Set at the next ring; take it before looking at what may change."""
        return self._rung


async def ring_at_news(wait_changed: Callable[[int], Awaitable[int]], seen: int, bell: Bell) -> None:
    """Ring for every new version of a board."""
    while True:
        seen = await wait_changed(seen)
        bell.ring()


@dataclass(frozen=True, slots=True)
class Shared:
    """What the tasks of all shards have in common."""

    setups: Board[ShardKey, ShardSetup]
    health: Board[NodeKey, NodeHealth]
    store: Store
    fencer: Fencer
    events: EventLog
    controls: Controls
    settings: FailoverSettings
    leadership: Leadership
    steps: Steps
    at_once: trio.CapacityLimiter
    bell: Bell


async def tend(shared: Shared, key: ShardKey) -> None:
    """Tend a shard until cancelled; raise LeadershipLostError."""
    await _Tender(shared, key).run()


class _Tender:
    """One shard's task and what it remembers between decisions."""

    def __init__(self, shared: Shared, key: ShardKey) -> None:
        self._shared = shared
        self._key = key
        self._began_at = trio.current_time()
        self._backoff = NO_FAILOVER_YET
        self._acknowledged = shared.controls.acknowledged.get(key, 0)
        self._done: frozenset[Configure | Persist] = frozenset()
        self._sync = SyncLog()
        self._unfinished: Run | None = None  # could not go on
        self._published: tuple[object, ...] = ()
        self._told: dict[Follow, float] = {}
        self._alarm: str | None = None

    async def run(self) -> None:
        while True:
            news = self._shared.bell.next
            try:
                until = await self._look()
            except (StoreUnavailableError, ConflictError, FenceError, StepError) as error:
                self._set_alarm(str(error))
                until = trio.current_time() + REDO
            if until is None:
                await news.wait()
            else:
                with trio.move_on_at(until):
                    await news.wait()

    async def _look(self) -> float | None:
        """Do what is needed; return when to look again, at the latest."""
        self._sync = self._sync.noted(self._record, self._healths(), trio.current_time())
        await self._publish(self._record)
        if (request := self._shared.controls.requests.get(self._key)) is not None:
            await self._serve(request)
            return trio.current_time()
        acknowledged = self._shared.controls.acknowledged.get(self._key, 0)
        if acknowledged != self._acknowledged:
            self._acknowledged, self._backoff = acknowledged, self._backoff.lifted()
        decision = decide(self._situation())
        match decision:
            case Nothing(alarm, is_unclear, until):
                if not is_unclear:
                    self._set_alarm(alarm)
                return until
            case Register(found):
                return await self._register(found)
            case Update(record):
                await self._put(record)
            case Accept(why):
                return await self._accept(why)
            case FailOver(reason, is_resumed):
                return await self._fail_over(reason, is_resumed=is_resumed)
            case Hold(reason, until):
                return await self._hold(reason, until)
            case Heal(actions):
                return await self._heal(actions)
        return trio.current_time()

    @property
    def _setup(self) -> ShardSetup:
        return self._shared.setups[self._key]

    @property
    def _record(self) -> ShardRecord:
        stored = self._shared.store.records.get(self._key)
        return stored if stored is not None else record_new(self._setup)

    def _healths(self) -> dict[Address, NodeHealth]:
        """Judged by the present record: what was said before the last change says nothing about now."""
        record = self._record
        nodes = dict.fromkeys((*self._setup.addresses, *record.nodes))
        found = ((node, self._shared.health.get((self._key, node))) for node in nodes)
        return {node: health for node, health in found if health is not None and health.epoch == record.epoch}

    def _situation(self) -> Situation:
        now = trio.current_time()
        return Situation(
            setup=self._setup,
            record=self._record,
            healths=self._healths(),
            now=now,
            backoff=self._backoff,
            done=self._done,
            is_paused=self._key.cluster in self._shared.controls.paused,
            is_patient=now - self._began_at < self._shared.settings.adopt_after,
            barred=self._sync.left_behind(self._shared.settings.left_behind),
        )

    def _set_alarm(self, alarm: str | None) -> None:
        """Say a change once."""
        if alarm is not None and alarm != self._alarm:
            self._shared.events.add(EventName.ALARM, self._key, alarm)
        elif alarm is None and self._alarm is not None:
            self._shared.events.add(EventName.ALARM_CLEARED, self._key, f"no longer: {self._alarm}")
        self._alarm = alarm

    async def _put(self, record: ShardRecord) -> ShardRecord:
        return await self._shared.store.put(record, self._shared.leadership)

    async def _publish(self, record: ShardRecord) -> None:
        """Have a settled record served, also one that somebody before us left behind."""
        if not record.is_settled or record.served == self._published or not self._is_confirmed(record):
            return
        await self._shared.fencer.wait_served(record)
        self._published = record.served

    def _is_confirmed(self, record: ShardRecord) -> bool:
        """Whether the primary on record is what it was: it may have restarted while nobody looked."""
        if record.primary is None or len(record.nodes) == 1:
            return True
        health = self._healths().get(record.primary)
        if health is None or health.server is None or health.replication is None:
            return False
        is_primary = health.replication.role is Role.PRIMARY
        return is_primary and record.run_id in ("", health.server.run_id)

    async def _register(self, found: Adoption) -> float | None:
        patience = self._began_at + self._shared.settings.adopt_after
        setup = self._setup
        match found:
            case Adopt(primary, joined, why):
                seen = await self._shared.steps.inspect(primary)
                if self._setup != setup:
                    return trio.current_time()  # it was found among nodes that the config has no more
                record = self._record.fenced()
                nodes = dict.fromkeys((*setup.addresses, primary))
                promise = replace(record.promise, wait=setup.wait)
                record = replace(record, nodes=tuple(nodes), joined=joined, promise=promise)
                for node, health in self._healths().items():
                    if node in joined and node != primary and health.server is not None:
                        record = record.with_process(node, health.server.run_id)
                await self._publish(await self._put(record.settled(primary, seen.lineage, seen.run_id)))
                self._shared.events.add(EventName.PRIMARY_ADOPTED, self._key, why)
                return trio.current_time()
            case Build(candidates, why):
                await self._build(candidates, why)
                return trio.current_time()
            case Conflict(why):
                self._set_alarm(f"{why}: not served until an operator promotes one ({self._advice})")
                if self._record.state is not ShardState.CONFLICT:
                    record = replace(self._record.fenced(ShardState.CONFLICT), nodes=self._setup.addresses)
                    await self._publish(await self._put(record))
                return None
            case NotYet(why):
                now = trio.current_time()
                if now < patience:
                    return patience
                self._set_alarm(why)
                return None

    async def _build(self, candidates: tuple[Address, ...], why: str) -> None:
        """Make the first primary: the node that has data, or the first of the config when none has."""
        setup = self._setup
        keys = {node: await self._shared.steps.count_keys(node) for node in candidates}
        if self._setup != setup:
            return  # they were found among nodes that the config has no more
        histories = {
            health.replication.lineage.replid
            for node, health in self._healths().items()
            if health.replication is not None and keys.get(node)
        }
        if len(histories) > 1:
            holders = ", ".join(f"{node} ({count} keys)" for node, count in keys.items() if count)
            await self._register(Conflict(f"several nodes hold data of their own: {holders}"))
            return
        with_data = [node for node in candidates if keys[node]]
        order = [node for node in self._setup.addresses if node in keys]
        target = (with_data or order)[0]
        joined = tuple(node for node in candidates if node == target or not keys[node] or histories)
        promise = replace(self._record.promise, wait=self._setup.wait)
        record = replace(self._record, nodes=self._setup.addresses, promise=promise, joined=joined)
        await self._walk(Run(Kind.FAILOVER, record, why, trio.current_time(), trusted=target))

    @property
    def _advice(self) -> str:
        return f"shardproxy failover {self._key.cluster} {self._key.index} --to NODE"

    async def _accept(self, why: str) -> float:
        record = self._record
        if record.primary is None:
            return trio.current_time()
        seen = await self._shared.steps.inspect(record.primary)
        is_in_doubt = self._setup.is_automatic and self._may_miss_data(record, seen.lineage)
        if is_in_doubt and not await self._shared.steps.count_keys(record.primary):
            return await self._hold(f"{why}, empty, while others may have its data", None)
        accepted = record.fenced().settled(record.primary, seen.lineage, seen.run_id)
        await self._publish(await self._put(accepted))
        self._shared.events.add(EventName.NODES_REBOOTED, self._key, f"{why}; it stays the primary")
        return trio.current_time()

    def _may_miss_data(self, record: ShardRecord, lineage: Lineage) -> bool:
        """Whether a member does not follow the primary that restarted, and so may have what that lost."""
        healths = self._healths()
        for node in record.joined:
            if node == record.primary:
                continue
            health = healths.get(node)
            seen = health.replication if health is not None and health.verdict.is_answering else None
            if seen is None or not seen.is_link_up or seen.lineage.replid != lineage.replid:
                return True
        return False

    async def _fail_over(self, reason: str, *, is_resumed: bool) -> float:
        record = self._record
        run = self._unfinished
        if run is None or run.record != record or run.kind is Kind.HOLD:
            trusted = record.target if record.last is None and record.lineage is None else None
            self._shared.events.add(EventName.FAILOVER_STARTED, self._key, reason)
            run = Run(
                Kind.FAILOVER,
                record,
                reason,
                trio.current_time(),
                trusted=trusted,
                barred=self._sync.left_behind(self._shared.settings.left_behind),
                other_name=self._sync.other_name(record),
            )
        run = await self._walk(run)
        now = trio.current_time()
        if run.step is not Step.DONE:
            return now + (REDO if run.is_over else self._shared.settings.retry_interval)
        if not is_resumed:
            self._backoff = self._backoff.after_failover(now)
        return now

    async def _hold(self, reason: str, until: float | None) -> float:
        """Serve nothing, and let no replica take an empty primary's data, until somebody may be promoted."""
        run = self._unfinished
        if run is None or run.record != self._record or run.kind is not Kind.HOLD:
            run = Run(Kind.HOLD, self._record, reason, trio.current_time())
        await self._walk(replace(run, reason=reason))
        return min(trio.current_time() + REDO, until or math.inf)

    async def _serve(self, request: Request) -> None:
        """Do what an operator asked for, and answer."""
        events, controls = self._shared.events, self._shared.controls
        if request.is_test:
            events.add(EventName.TEST_FAILOVER_CALLED, self._key, "a test failover was asked for")
        why_not: str | None = "the controller stopped before it was done"
        try:
            why_not = await self._change_primary(request)
        except (StoreUnavailableError, ConflictError, StepError) as error:
            why_not = str(error)
        finally:
            if controls.requests.get(self._key) is request:
                controls.requests.hide(self._key)
            with contextlib.suppress(trio.BrokenResourceError):  # the asker waits no more
                request.answer.send_nowait(why_not)
            if why_not is not None:
                events.add(EventName.SWITCHOVER_FAILED, self._key, why_not)

    async def _wait_asked(self) -> None:
        """Wait until the nodes were asked since the last change, but not for long."""
        with trio.move_on_after(self._shared.settings.adopt_after):
            while True:
                news = self._shared.bell.next
                healths = self._healths()
                if all(is_heard(healths.get(node)) for node in self._record.nodes):
                    return
                await news.wait()

    async def _change_primary(self, request: Request) -> str | None:
        await self._wait_asked()
        record, now = self._record, trio.current_time()
        if request.is_forced:
            if request.to not in record.nodes:
                return f"{request.to} is not a node of this shard"
            run = Run(Kind.FAILOVER, record, "an operator chose it", now, trusted=request.to)
        else:
            target = switchover_target(record, self._healths(), request.to)
            if isinstance(target, str):
                return target
            run = Run(Kind.SWITCHOVER, record, "an operator asked for it", now, target=target)
        run = await self._walk(run)
        if run.step is Step.DONE and run.primary == (run.trusted or run.target):
            return None
        return run.setback or f"{run.primary} became the primary instead"

    async def _walk(self, run: Run) -> Run:
        """Walk a run to its end, and say how it ended."""
        shared, record = self._shared, run.record
        primary = record.primary or record.last
        runner = Runner(
            self._setup,
            shared.store,
            shared.leadership,
            shared.steps,
            shared.fencer,
            shared.settings,
            shared.at_once,
        )
        run = await runner.walk(run)
        self._unfinished = None if run.is_over else run
        took = trio.current_time() - run.started_at
        if run.step is Step.DONE:
            self._published = run.record.served
            name = EventName.FAILOVER_COMPLETE if primary is not None else EventName.PRIMARY_ADOPTED
            if run.kind is Kind.SWITCHOVER:
                name = EventName.SWITCHOVER_FAILED if run.setback else EventName.SWITCHOVER_COMPLETE
            said = f"{run.record.primary} is the primary of epoch {run.record.epoch}, after {took:.2f} s"
            said += f" (before: {primary})" if primary is not None else ""
            said += f": {run.setback or run.reason}"
            shared.events.add(name, self._key, said, seconds=took)
        elif run.is_over:
            shared.events.add(EventName.FAILOVER_DELAYED, self._key, run.setback)
        else:
            stuck = "not served" if run.kind is Kind.HOLD else f"{run.kind.value} is stuck"
            self._set_alarm(f"{stuck}: {run.setback} (to promote a node all the same: {self._advice})")
        return run

    async def _heal(self, actions: Iterable[Action]) -> float:
        """Do them one by one; one that fails does not keep the others from being done."""
        now = trio.current_time()
        self._told = {told: at for told, at in self._told.items() if now - at < REDO}
        troubles = []
        for action in actions:
            if action in self._told:
                continue  # it shows in its health a little later
            try:
                await self._act(action)
            except StepError as error:
                troubles.append(str(error))
        self._set_alarm("; ".join(troubles) or None)
        return now + REDO

    async def _act(self, action: Action) -> None:
        shared, key = self._shared, self._key
        match action:
            case Configure(node):
                self._done = self._done | {action}
                await shared.steps.configure(node, self._setup.min_replicas)
            case Persist(node):
                self._done = self._done | {action}
                await shared.steps.persist(node)
            case Joined(node, run_id):
                record = self._record
                await self._put(record.with_process(node, run_id))
                if node not in record.joined:
                    shared.events.add(EventName.NODE_ADDED, key, f"{node} is in sync with the primary")
            case Follow(node, primary, was_primary, must_be_empty):
                if must_be_empty and (count := await shared.steps.count_keys(node)):
                    raise StepError(
                        node, f"holds {count} keys of its own: empty it (FLUSHALL) to let it join"
                    )
                seen = await shared.steps.inspect(primary)
                if seen.run_id != self._record.run_id:
                    raise StepError(primary, "restarted: nobody is told to follow it now")
                await shared.steps.follow(node, primary, cut_clients=was_primary)
                self._told[action] = trio.current_time()
                said = f"{node} was told to follow {primary}"
                shared.events.add(EventName.NODE_RECOVERED, key, said)
