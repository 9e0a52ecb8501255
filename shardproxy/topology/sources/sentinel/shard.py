"""One shard as Sentinels have it: what is known of it, what is made of that, and what is shown.

    askers ─> answers ─┐
    health ────────────┼─> decide (pure) ─> showing, events
    nodes asked now ───┘

Wakes up at each answer, hint and change of health; nothing of that decides anything by itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import trio

from shardproxy.failover.events import EventName
from shardproxy.failover.setup import ShardSetup
from shardproxy.model import Address
from shardproxy.model.board import News
from shardproxy.model.health import Cause, NodeState
from shardproxy.topology.sources.nodes import Seen, nodes_ask, seen_of
from shardproxy.topology.sources.sentinel.answers import Answer, ReplicaSaid
from shardproxy.topology.sources.sentinel.asker import SentinelAsker
from shardproxy.topology.sources.sentinel.decide import (
    Decision,
    Park,
    Serve,
    Served,
    Stay,
    View,
    Waits,
    decide,
    majority,
    named_by_most,
    nodes_to_ask,
)
from shardproxy.topology.sources.sentinel.record import record_of, served_of
from shardproxy.topology.sources.source import SourceInputs
from shardproxy.topology.sources.spelling import Spelling

# Seconds for the Sentinels to agree on a primary that was promoted (they ask each second), and for one to
# promote whom it says it will.
PATIENCE = {Waits.RIVAL: 10.0, Waits.CLAIM: 3.0}
AGAIN_AFTER = 60.0  # seconds until there is patience for the same again, where nothing has come of it
ALONE_AFTER = 2.0  # seconds without a majority; Sentinel itself takes as long to replace a primary
LOOK = 1.0  # seconds between looks while all is well; each answer is one too
CLOSE_LOOK = 0.1  # the same while something is going on
HINTED = 5.0  # seconds that a hint is worth looking closely
SILENT = frozenset({Cause.DEAD, Cause.SILENT})


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all shards of a cluster share."""

    inputs: SourceInputs
    askers: Sequence[SentinelAsker]
    spelling: Spelling


class FollowedShard:
    """See above. `name` is what the Sentinels call its primary."""

    def __init__(self, setup: ShardSetup, name: str, shared: Surroundings) -> None:
        self.setup = setup
        self.name = name
        self.news = News()
        self.trouble: str | None = None  # what an operator should know
        self.handing_until = -math.inf  # it was asked to give its part to another: nothing is sent to it
        self.served: Served | None = served_of(shared.inputs.showing.shown.get(setup.key))
        self._shared = shared
        self._seen: dict[Address, Seen] = {}  # asked by us, just now
        self._waiting_since: dict[Waits, float] = {}
        self._parked_since: float | None = None
        self._close_until = -math.inf
        self._alone_since: float | None = None  # most Sentinels have named no primary since then

    async def run(self) -> None:
        """Keep what is shown as it is decided, until cancelled."""
        health, key = self._shared.inputs.health, self.setup.key
        health.subscribe(self.news, key)
        try:
            while True:
                await self._look()
                with trio.move_on_after(CLOSE_LOOK if self._is_close else LOOK):
                    await self.news.wait()
        finally:
            health.unsubscribe(self.news, key)

    def look_closely(self) -> None:
        """Something happens: ask all Sentinels now, and the nodes too, again and again for a while."""
        self._close_until = trio.current_time() + HINTED
        self.news.ring()
        self._hurry()

    def park(self, why: str) -> None:
        """Have nothing sent until a primary is known again."""
        assert self.served is not None, "there is a primary to be lost"
        if self.served.is_parked:
            return
        self._parked_since = trio.current_time()
        self._show(replace(self.served, is_parked=True))
        self._tell(EventName.FAILOVER_STARTED, f"{why}: requests wait for what the Sentinels decide")
        self.look_closely()

    async def _look(self) -> None:
        links = self._shared.inputs.nodes
        await self._shared.spelling.learn(self._addresses())
        self._seen = await nodes_ask(links, nodes_to_ask(self._view()))
        if self._is_close and self.served is not None:
            members = {self.served.primary, *self.served.replicas}
            self._seen |= await nodes_ask(links, members - set(self._seen))
        view = self._view()
        self._act(view, decide(view))
        if self._is_close:
            self._hurry()

    @property
    def _is_close(self) -> bool:
        is_parked = self.served is not None and self.served.is_parked
        return is_parked or trio.current_time() < self._close_until

    def _hurry(self) -> None:
        for asker in self._shared.askers:
            asker.hurry(self.name)

    # --- what is known ---

    def _view(self) -> View:
        now, askers = trio.current_time(), self._shared.askers
        said = (asker.answers.get(self.name) for asker in askers)
        answers = tuple(self._spelled(answer) for answer in said if answer is not None)
        if named_by_most(answers, len(askers)) is not None:
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = now
        return View(
            len(askers),
            answers,
            self.served,
            {node: self._spelled_seen(seen) for node, seen in self._nodes().items()},
            self._why_down(),
            is_handing_over=now < self.handing_until,
            heeds=frozenset(waits for waits in Waits if self._has_patience(waits, now)),
            is_alone=self._alone_since is not None and now - self._alone_since >= ALONE_AFTER,
        )

    def _has_patience(self, waits: Waits, now: float) -> bool:
        since = self._waiting_since.get(waits)
        return since is None or now - since < PATIENCE[waits] or now - since > AGAIN_AFTER

    def _nodes(self) -> dict[Address, Seen]:
        """What members said when they were watched, and those that we asked ourselves just now."""
        served, health = self.served, self._shared.inputs.health
        members = (served.primary, *served.replicas) if served is not None else ()
        watched = ((node, seen_of(health.get((self.setup.key, node)))) for node in members)
        return {**{node: seen for node, seen in watched if seen is not None}, **self._seen}

    def _why_down(self) -> str | None:
        """What ails the primary, if it is that the process is gone, or silent to us, whoever else hears it.

        What it might acknowledge later would be lost, should it have been replaced by then.
        """
        if self.served is None or self.served.is_parked:
            return None
        health = self._shared.inputs.health.get((self.setup.key, self.served.primary))
        if health is None:
            return None
        verdict = health.verdict
        is_gone = verdict.is_down and verdict.cause in SILENT
        return verdict.text if is_gone or verdict.state is NodeState.CUT_OFF else None

    def _addresses(self) -> Iterator[Address]:
        """All that is named, by whomever."""
        for asker in self._shared.askers:
            if (answer := asker.answers.get(self.name)) is not None:
                yield answer.primary
                yield from (replica.address for replica in answer.replicas)
        for seen in self._nodes().values():
            if seen.replication.follows is not None:
                yield seen.replication.follows

    def _spelled(self, answer: Answer) -> Answer:
        of = self._shared.spelling.of
        replicas = tuple(ReplicaSaid(of(one.address), one.is_down) for one in answer.replicas)
        return replace(answer, primary=of(answer.primary), replicas=replicas)

    def _spelled_seen(self, seen: Seen) -> Seen:
        follows = seen.replication.follows
        if follows is None or (spelled := self._shared.spelling.of(follows)) == follows:
            return seen
        return replace(seen, replication=replace(seen.replication, follows=spelled))

    # --- what is made of it ---

    def _act(self, view: View, decision: Decision) -> None:
        match decision:
            case Serve():
                self._serve(decision)
                self._say(decision.trouble)
            case Park():
                self._wait_for(decision.waits_for)
                self.park(decision.why)
            case Stay():  # without a majority that is all there is to say, and the source says it
                self._say(decision.trouble if len(view.answers) >= majority(view.total) else None)
                if decision.is_careful and self.served is not None and not self.served.is_careful:
                    self._show(replace(self.served, is_careful=True))

    def _wait_for(self, waits: Waits | None) -> None:
        """From now on, unless that has begun a while ago."""
        now = trio.current_time()
        if waits is not None and now - self._waiting_since.get(waits, -math.inf) > AGAIN_AFTER:
            self._waiting_since[waits] = now

    def _serve(self, found: Serve) -> None:
        before, now = self.served, trio.current_time()
        self._show(
            Served(
                found.primary,
                found.epoch,
                found.run_id,
                found.replicas,
                found.lineage,
                found.voters,
                found.processes,
            )
        )
        if before is None:
            self._tell(EventName.PRIMARY_ADOPTED, f"{found.primary}, as the Sentinels say")
        elif before.primary != found.primary:
            self._waiting_since.clear()  # something has come of it
            is_planned = now < self.handing_until
            self._tell(
                EventName.SWITCHOVER_COMPLETE if is_planned else EventName.FAILOVER_COMPLETE,
                f"{found.primary} is primary as of config-epoch {found.epoch}, it was {before.primary}",
                seconds=now - self._parked_since if self._parked_since is not None else 0.0,
            )
        elif before.run_id != found.run_id:
            why = f"primary {found.primary} is another process now, and the Sentinels have kept it"
            self._tell(EventName.NODES_REBOOTED, why)
        elif before.is_parked:
            self._tell(EventName.NODE_RECOVERED, f"primary {found.primary}, which the Sentinels have kept")
        self._parked_since = None

    def _show(self, served: Served) -> None:
        self.served = served
        self._shared.inputs.showing.show(record_of(self.setup, served))

    def _say(self, trouble: str | None) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            name = EventName.ALARM if trouble is not None else EventName.ALARM_CLEARED
            self._tell(name, trouble or "the Sentinels and the nodes agree again")

    def _tell(self, name: EventName, message: str, seconds: float = 0.0) -> None:
        self._shared.inputs.events.add(name, self.setup.key, message, seconds=seconds)
