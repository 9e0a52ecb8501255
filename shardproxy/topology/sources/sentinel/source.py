"""Follows the Sentinels of one cluster, shard by shard.

    askers ─> answers ─┐
    health ────────────┼─> decide (pure) ─> showing
    nodes asked now ───┘

Wakes up at each answer, hint and change of health; nothing of that decides anything by itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import trio

from shardproxy.config import RedisCluster
from shardproxy.config.topology import FromSentinel
from shardproxy.failover.events import EventName
from shardproxy.failover.setup import ShardSetup
from shardproxy.model import Address
from shardproxy.model.board import News
from shardproxy.model.health import Cause, NodeState
from shardproxy.model.replication import ShardKey
from shardproxy.nodes import Credentials, NodeError, NodeFailure, NodeTls
from shardproxy.store.record import Promise, ShardRecord, ShardState
from shardproxy.topology.delegated import shards_delegated
from shardproxy.topology.sources.nodes import Seen, nodes_ask, seen_of
from shardproxy.topology.sources.sentinel.answers import Answer, ReplicaSaid
from shardproxy.topology.sources.sentinel.asker import MIN_GAP, SentinelAsker
from shardproxy.topology.sources.sentinel.decide import (
    Decision,
    Park,
    Serve,
    Served,
    Stay,
    View,
    decide,
    majority,
    nodes_to_ask,
)
from shardproxy.topology.sources.sentinel.login import decider_access
from shardproxy.topology.sources.source import DeciderStatus, SourceInputs
from shardproxy.topology.sources.spelling import Spelling

PATIENCE = 3.0  # seconds for the Sentinels to agree on a primary that was promoted: they ask each second
LOOK = 1.0  # seconds between looks while all is well; each answer is one too
CLOSE_LOOK = 0.1  # the same while something is going on
HINTED = 5.0  # seconds that a hint is worth looking closely
SILENT = frozenset({Cause.DEAD, Cause.SILENT})
LEVEL_WITHIN = 1.0  # seconds for replicas to have all that their primary has, when it hands over
HANDS_OVER_WITHIN = 8.0  # seconds for a switchover; Sentinel takes two
ASK_TIMEOUT = 2.0  # seconds for a Sentinel to take it on


@dataclass(slots=True, eq=False)
class _Followed:
    """One shard, and what was found of it."""

    setup: ShardSetup
    name: str  # what the Sentinels call its primary
    news: News = field(default_factory=News)
    served: Served | None = None
    seen: dict[Address, Seen] = field(default_factory=dict)  # asked by us, just now
    patient_since: float | None = None
    parked_since: float | None = None
    close_until: float = -math.inf
    handing_until: float = -math.inf  # it was asked to give its part to another: nothing is sent to it
    trouble: str | None = None

    @property
    def key(self) -> ShardKey:
        return self.setup.key


class SentinelSource:
    """See above."""

    def __init__(self, inputs: SourceInputs) -> None:
        config = inputs.settings.config
        assert isinstance(config, RedisCluster), "it has a decider"
        assert isinstance(config.decider, FromSentinel), "as this source is chosen by"
        self._inputs = inputs
        self._names = dict(config.decider.names)
        setups = shards_delegated(inputs.cluster, config, inputs.showing.records)
        self._shards = {
            setup.key: _Followed(setup, self._names[setup.name]) for setup in setups if setup.name is not None
        }
        login, tls = decider_access(inputs.settings)
        self._askers = tuple(self._asker(address, login, tls) for address in config.decider.sentinels)
        self._spelling = Spelling(node.address for shard in config.shards for node in shard.nodes)
        self._trouble: str | None = None

    def _asker(self, address: Address, login: Credentials | None, tls: NodeTls | None) -> SentinelAsker:
        names = [shard.name for shard in self._shards.values()]
        return SentinelAsker(address, names, self._answered, self._hinted, login, tls)

    async def run(self) -> None:
        for shard in self._shards.values():
            shard.served = _served_of(self._inputs.showing.shown.get(shard.key))
        self._inputs.showing.keep_only(self._shards)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._inputs.showing.epochs.run)
            nursery.start_soon(self._run_hints)
            for asker in self._askers:
                nursery.start_soon(asker.run)
            for shard in self._shards.values():
                nursery.start_soon(self._follow, shard)

    # --- what wakes it up ---

    def _answered(self) -> None:
        self._say_how_it_stands()
        for shard in self._shards.values():
            shard.news.ring()

    def _hinted(self, text: str) -> None:
        """Something happens at a Sentinel: look closely at that shard, and ask all of them."""
        words = text.split()
        for shard in self._shards.values():
            if shard.name in words:
                self._look_closely(shard)

    async def _run_hints(self) -> None:
        async for address in self._inputs.hints:
            for shard in self._shards.values():
                if shard.served is not None and address == shard.served.primary:
                    shard.news.ring()

    def _look_closely(self, shard: _Followed) -> None:
        shard.close_until = trio.current_time() + HINTED
        shard.news.ring()
        for asker in self._askers:
            asker.hurry(shard.name)

    # --- one shard ---

    async def _follow(self, shard: _Followed) -> None:
        health = self._inputs.health
        health.subscribe(shard.news, shard.key)
        try:
            while True:
                await self._spelling.learn(self._addresses(shard))
                shard.seen = await nodes_ask(self._inputs.nodes, nodes_to_ask(self._view(shard)))
                if self._is_close(shard) and shard.served is not None:
                    others = {shard.served.primary, *shard.served.replicas} - set(shard.seen)
                    shard.seen |= await nodes_ask(self._inputs.nodes, others)
                view = self._view(shard)
                self._act(shard, view, decide(view))
                seconds = LOOK
                if self._is_close(shard):
                    seconds = CLOSE_LOOK
                    for asker in self._askers:
                        asker.hurry(shard.name)
                with trio.move_on_after(seconds):
                    await shard.news.wait()
        finally:
            health.unsubscribe(shard.news, shard.key)

    def _is_close(self, shard: _Followed) -> bool:
        is_parked = shard.served is not None and shard.served.is_parked
        return is_parked or trio.current_time() < shard.close_until

    def _addresses(self, shard: _Followed) -> Iterator[Address]:
        for asker in self._askers:
            if (answer := asker.answers.get(shard.name)) is not None:
                yield answer.primary
                yield from (replica.address for replica in answer.replicas)
        for seen in self._seen(shard).values():
            if seen.replication.follows is not None:
                yield seen.replication.follows

    def _view(self, shard: _Followed) -> View:
        now = trio.current_time()
        said = (asker.answers.get(shard.name) for asker in self._askers)
        return View(
            len(self._askers),
            tuple(self._spelled(answer) for answer in said if answer is not None),
            shard.served,
            {node: self._spelled_seen(seen) for node, seen in self._seen(shard).items()},
            self._why_down(shard),
            has_patience=shard.patient_since is None or now - shard.patient_since < PATIENCE,
            is_handing_over=now < shard.handing_until,
        )

    def _seen(self, shard: _Followed) -> dict[Address, Seen]:
        """What members said when they were watched, and those that we asked ourselves just now."""
        served = shard.served
        members = (served.primary, *served.replicas) if served is not None else ()
        watched = ((node, seen_of(self._inputs.health.get((shard.key, node)))) for node in members)
        return {**{node: seen for node, seen in watched if seen is not None}, **shard.seen}

    def _why_down(self, shard: _Followed) -> str | None:
        """What ails the primary, if it is that the process is gone, or silent to us, whoever else hears it.

        What it might acknowledge later would be lost, should it have been replaced by then.
        """
        if shard.served is None or shard.served.is_parked:
            return None
        health = self._inputs.health.get((shard.key, shard.served.primary))
        if health is None:
            return None
        verdict = health.verdict
        is_gone = verdict.is_down and verdict.cause in SILENT
        return verdict.text if is_gone or verdict.state is NodeState.CUT_OFF else None

    def _spelled(self, answer: Answer) -> Answer:
        of = self._spelling.of
        replicas = tuple(ReplicaSaid(of(one.address), one.is_down) for one in answer.replicas)
        return replace(answer, primary=of(answer.primary), replicas=replicas)

    def _spelled_seen(self, seen: Seen) -> Seen:
        follows = seen.replication.follows
        if follows is None or (spelled := self._spelling.of(follows)) == follows:
            return seen
        return replace(seen, replication=replace(seen.replication, follows=spelled))

    # --- what is shown ---

    def _act(self, shard: _Followed, view: View, decision: Decision) -> None:
        now = trio.current_time()
        match decision:
            case Serve():
                if decision.trouble is None:
                    shard.patient_since = None
                self._serve(shard, decision, now)
                self._say(shard, decision.trouble)
            case Park():
                if decision.is_patient and shard.patient_since is None:
                    shard.patient_since = now
                self._park(shard, decision.why, now)
            case Stay():
                self._say(shard, decision.trouble if len(view.answers) >= majority(view.total) else None)

    def _serve(self, shard: _Followed, found: Serve, now: float) -> None:
        before = shard.served
        shard.served = Served(
            found.primary,
            found.epoch,
            found.run_id,
            found.replicas,
            found.lineage,
            found.voters,
            found.processes,
        )
        self._inputs.showing.show(self._record(shard, shard.served))
        key, events = shard.key, self._inputs.events
        if before is None:
            events.add(EventName.PRIMARY_ADOPTED, key, f"{found.primary}, as the Sentinels say")
        elif before.primary != found.primary:
            why = f"{found.primary} is primary as of config-epoch {found.epoch}, it was {before.primary}"
            seconds = now - shard.parked_since if shard.parked_since is not None else 0.0
            is_planned = now < shard.handing_until
            name = EventName.SWITCHOVER_COMPLETE if is_planned else EventName.FAILOVER_COMPLETE
            events.add(name, key, why, seconds=seconds)
        elif before.run_id != found.run_id:
            why = f"primary {found.primary} is another process now, and the Sentinels have kept it"
            events.add(EventName.NODES_REBOOTED, key, why)
        elif before.is_parked:
            why = f"primary {found.primary}, which the Sentinels have kept"
            events.add(EventName.NODE_RECOVERED, key, why)
        shard.parked_since = None

    def _park(self, shard: _Followed, why: str, now: float) -> None:
        assert shard.served is not None, "there is a primary to be lost"
        if shard.served.is_parked:
            return
        shard.parked_since = now
        shard.served = replace(shard.served, is_parked=True)
        self._inputs.showing.show(self._record(shard, shard.served))
        self._inputs.events.add(
            EventName.FAILOVER_STARTED, shard.key, f"{why}: requests wait for what the Sentinels decide"
        )
        self._look_closely(shard)

    def _record(self, shard: _Followed, served: Served) -> ShardRecord:
        """As a controller would have it on record, by what Sentinel says."""
        nodes = (served.primary, *served.replicas)
        wait = shard.setup.wait
        return ShardRecord(
            shard.key,
            served.epoch + 1,  # 0 says that there was none yet
            ShardState.FENCING if served.is_parked else ShardState.OK,
            None if served.is_parked else served.primary,
            nodes,
            last=served.primary if served.is_parked else None,
            joined=nodes,
            processes=tuple((served.processes or {}).items()),
            name=shard.setup.name,
            slots=shard.setup.slots,
            promise=Promise(served.voters if wait else frozenset(), wait),
            lineage=served.lineage,
            run_id=served.run_id,
        )

    # --- what an operator should know ---

    def _say(self, shard: _Followed, trouble: str | None) -> None:
        if trouble != shard.trouble:
            shard.trouble = trouble
            name = EventName.ALARM if trouble is not None else EventName.ALARM_CLEARED
            self._inputs.events.add(name, shard.key, trouble or "the Sentinels and the nodes agree again")

    def _say_how_it_stands(self) -> None:
        """Once all were asked: whether enough of them answer."""
        if any(asker.why_silent == "not asked yet" for asker in self._askers):
            return
        answering = sum(asker.why_silent is None for asker in self._askers)
        needed = majority(len(self._askers))
        trouble = None
        if answering < needed:
            silent = "; ".join(f"{a.address}: {a.why_silent}" for a in self._askers if a.why_silent)
            trouble = (
                f"{answering} of {len(self._askers)} Sentinels answer, {needed} are needed: what was served"
                f" last is served on ({silent})"
            )
        if (trouble is None) != (self._trouble is None):
            key = min(self._shards)
            name = EventName.ALARM if trouble is not None else EventName.ALARM_CLEARED
            self._inputs.events.add(name, key, trouble or "enough Sentinels answer again")
        self._trouble = trouble

    @property
    def status(self) -> DeciderStatus:
        troubles = (shard.trouble for shard in self._shards.values() if shard.trouble is not None)
        return DeciderStatus(
            "sentinel",
            {str(asker.address): asker.why_silent for asker in self._askers},
            self._trouble or next(troubles, None),
        )

    # --- what operators ask for ---

    async def switch_over(self, key: ShardKey, to: Address | None) -> str | None:
        shard = self._shards.get(key)
        if shard is None or shard.served is None:
            return "its primary is not known yet"
        if to is not None:
            return (
                "Sentinel chooses whom it promotes: leave out --to, and give the replica you mean the lowest"
                " replica-priority above 0"
            )
        if shard.served.is_parked or trio.current_time() < shard.handing_until:
            return "a failover is under way"
        before = shard.served.primary
        shard.handing_until = trio.current_time() + HANDS_OVER_WITHIN
        try:
            self._park(shard, "a switchover was asked for", trio.current_time())
            why = await self._wait_level(shard) or await self._have_failed_over(shard.name)
            if why is not None:
                return why
            with trio.move_on_after(HANDS_OVER_WITHIN):
                while shard.served.primary == before or shard.served.is_parked:
                    await self._inputs.showing.wait_shown(key)
                return None
            return f"Sentinel took it on, but has named no other primary within {HANDS_OVER_WITHIN:.0f} s"
        finally:
            shard.handing_until = -math.inf
            self._look_closely(shard)  # whoever is named then is served

    async def _wait_level(self, shard: _Followed) -> str | None:
        """Wait until all replicas have what the primary has, now that nothing is sent to it; or why not."""
        assert shard.served is not None, "it is handed over"
        primary, replicas = shard.served.primary, shard.served.replicas
        with trio.move_on_after(LEVEL_WITHIN):
            offset: int | None = None
            while True:
                await trio.sleep(MIN_GAP)  # what was sent before is carried out by then
                seen = await nodes_ask(self._inputs.nodes, (primary, *replicas))
                if primary in seen:
                    before, offset = offset, seen[primary].replication.offset
                    others = [seen[node].replication.offset for node in replicas if node in seen]
                    if before == offset and others and len(others) == len(replicas) and min(others) >= offset:
                        return None
        return f"not all replicas had all of {primary}'s writes within {LEVEL_WITHIN:g} s: nothing was done"

    async def _have_failed_over(self, name: str) -> str | None:
        """Tell the first Sentinel that answers; why none does it."""
        whys = []
        for asker in self._askers:
            try:
                await asker.request("SENTINEL", "FAILOVER", name, timeout=ASK_TIMEOUT)
            except NodeError as error:
                return f"Sentinel {asker.address} refuses: {error.failure.text}"
            except NodeFailure as error:
                if error.is_sent:
                    return f"Sentinel {asker.address} may have begun: {error.why} (see shardproxy status)"
                whys.append(str(error))
            else:
                return None
        return "no Sentinel can be asked: " + "; ".join(whys)

    async def promote(self, key: ShardKey, to: Address) -> str | None:
        return WHY_NOT["promote"]

    def why_not(self, action: str) -> str:
        return WHY_NOT[action]


WHY_NOT = {
    "promote": "Sentinel decides who is primary: shardproxy switchover has it choose another one",
    "pause": (
        "Sentinel fails over, not the proxy: to keep it from that, raise its"
        " down-after-milliseconds for the time (SENTINEL SET <name> down-after-milliseconds 3600000), on each"
    ),
    "resume": "Sentinel fails over, not the proxy: there is nothing to resume here",
    "acknowledge": "Sentinel decides when to fail over again (failover-timeout): nothing waits here",
}


def _served_of(record: ShardRecord | None) -> Served | None:
    """What a source before this one has shown."""
    primary = (record.primary or record.last) if record is not None else None
    if record is None or primary is None:
        return None
    return Served(
        primary,
        record.epoch - 1,
        record.run_id,
        tuple(node for node in record.nodes if node != primary),
        record.lineage,
        record.promise.voters,
        dict(record.processes),
        is_parked=record.primary is None,
    )
