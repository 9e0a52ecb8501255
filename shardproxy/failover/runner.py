"""Walks the machine: each step's work, and what came of it as an event. Decides nothing by itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import trio

from shardproxy.failover import quorum
from shardproxy.failover.election import (
    Candidate,
    best_of_restarted,
    choose,
    why_not_trusted,
    why_too_few,
)
from shardproxy.failover.interfaces import FenceError, Fencer
from shardproxy.failover.led import PutsRecords
from shardproxy.failover.machine import (
    Behind,
    Chosen,
    Claimed,
    ClaimedSwitchover,
    Enough,
    Event,
    Fenced,
    HandedOver,
    HandoverRefused,
    HandoverUnclear,
    Healed,
    Held,
    Kind,
    Lost,
    NobodyElectable,
    Parked,
    Promoted,
    PromotionFailed,
    Published,
    Relayed,
    RelayFailed,
    Run,
    Step,
    TooFew,
    advance,
)
from shardproxy.failover.setup import FailoverSettings, ShardSetup
from shardproxy.failover.steps import StepError, Steps
from shardproxy.model import Address
from shardproxy.store.interface import ConflictError, Leadership, StoreUnavailableError
from shardproxy.store.record import ShardRecord, ShardState

SETBACKS = (TooFew, Held, NobodyElectable, PromotionFailed, RelayFailed)


@dataclass(slots=True)
class Runner:
    """Walks runs of one shard."""

    setup: ShardSetup
    store: PutsRecords
    leadership: Leadership
    steps: Steps
    fencer: Fencer
    settings: FailoverSettings

    async def walk(self, run: Run) -> Run:
        """Walk until it is over, or cannot go on now: it may be walked on later, from where it stands."""
        while True:
            event = await self._take(run)
            run = advance(run, event)
            if run.is_over or isinstance(event, SETBACKS):
                return run

    async def _take(self, run: Run) -> Event:
        """Do what the step asks for. LeadershipLostError ends the run: nothing more may be done."""
        try:
            match run.step:
                case Step.CLAIM:
                    return await self._claim(run)
                case Step.FENCE:
                    return await self._fence(run)
                case Step.WAIT:
                    return self._wait(run)
                case Step.CHOOSE:
                    return self._choose(run)
                case Step.RELAY:
                    return await self._relay(run)
                case Step.PROMOTE:
                    return await self._promote(run)
                case Step.PARK:
                    return await self._park(run)
                case Step.HANDOVER:
                    return await self._hand_over(run)
                case Step.PUBLISH:
                    return await self._publish(run)
                case Step.HEAL:
                    return await self._heal(run)
                case Step.DONE | Step.STOPPED:
                    raise ValueError(f"nothing to do when {run.step.value}")
        except (StoreUnavailableError, ConflictError) as error:
            return Lost(str(error))

    async def _claim(self, run: Run) -> Event:
        if run.kind is Kind.SWITCHOVER:
            record = replace(run.record.fenced(ShardState.SWITCHING), target=run.target)
            return ClaimedSwitchover(await self._put(record))
        state = ShardState.HELD if run.kind is Kind.HOLD else ShardState.FENCING
        is_first = (
            run.record.last is None and run.record.lineage is None
        )  # whoever resumes cannot choose anew
        bound = run.trusted if is_first and run.record.primary is None else None
        record = replace(run.record.fenced(state), target=bound, floor=max(run.record.floor, run.floor))
        return Claimed(await self._put(record))

    async def _fence(self, run: Run) -> Event:
        """The data plane and the engines at once: either alone keeps old writes from being acknowledged."""
        record = run.record
        why_not: list[str] = []
        frozen: list[Candidate] = []

        async def freeze(node: Address) -> None:
            try:
                zone = self.setup.zone_of(node)
                candidate = await self.steps.freeze(node, zone=zone, cut_clients=node == record.last)
                candidate = replace(candidate, is_configured=node in self.setup.addresses)
                frozen.append(candidate.with_one_name(record.lineage, run.other_name))
            except StepError:
                return  # it does not count among those that answer, and that is all

        async def fence() -> None:
            if (why := await self._why_not_served(record)) is not None:
                why_not.append(why)

        async with trio.open_nursery() as late:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fence)
                for node in _members(run) if run.may_touch else ():
                    if run.kind is Kind.HOLD and node == record.last:
                        continue  # nobody gets what it has, or lacks
                    (late if node == record.last else nursery).start_soon(freeze, node)
            if (
                frozen
            ):  # the last primary is seldom there to answer; it does what it was sent when it wakes up
                late.cancel_scope.deadline = trio.current_time() + self.settings.last_grace
        frozen.sort(key=lambda candidate: candidate.address)
        return Fenced(tuple(frozen), why_not[0] if why_not else None)

    def _wait(self, run: Run) -> Event:
        if run.why_not_acknowledged is not None:
            return TooFew(run.why_not_acknowledged)
        if run.kind is Kind.HOLD:
            return Held(run.reason)
        if run.trusted is not None:
            why_not = why_not_trusted(run.trusted, run.candidates, must_have_data=run.must_have_data)
            return Enough() if why_not is None else TooFew(why_not)
        if best_of_restarted(run.record, run.candidates) is not None:
            return Enough()
        too_few = why_too_few(run.record, run.candidates)
        return TooFew(too_few) if too_few is not None else Enough()

    def _choose(self, run: Run) -> Event:
        if run.trusted is not None:
            return Chosen(run.trusted)
        if (restarted := best_of_restarted(run.record, run.candidates)) is not None:
            return Chosen(restarted)
        choice = choose(run.candidates, run.record, self.settings.zone)
        if choice.best is None:
            return NobodyElectable(str(choice))
        if choice.source is not None:
            return Behind(choice.source.address, choice.best.address)
        return Chosen(choice.best.address)

    async def _relay(self, run: Run) -> Event:
        """Let the target sync from the node that has more, which serves nobody else."""
        if run.source is None or run.target is None:
            raise ValueError("nobody to sync from, or to")
        record = await self._put(run.record.promoting(run.source))
        try:
            source = await self.steps.promote(run.source, _run_id_of(run, run.source))
            # who syncs from it knows no older name of the history than its present one
            record = await self._put(replace(record, lineage=source.lineage))
            await self.steps.catch_up(run.target, run.source, record)
        except StepError as error:
            return RelayFailed(f"{run.target} has to sync from {run.source} first: {error}", record)
        return Relayed(record)

    async def _promote(self, run: Run) -> Event:
        """The store first: whoever comes after us must know whom this epoch may have made a primary."""
        if run.target is None:
            raise ValueError("no target was chosen")
        record = await self._put(run.record.promoting(run.target))
        try:
            primary = await self.steps.promote(run.target, _run_id_of(run, run.target))
        except StepError as error:
            return PromotionFailed(str(error), record)
        return Promoted(record, primary.lineage, primary.run_id)

    async def _park(self, run: Run) -> Event:
        why_not = await self._why_not_served(run.record)
        return Parked() if why_not is None else HandoverRefused(why_not)

    async def _hand_over(self, run: Run) -> Event:
        primary, target = run.record.last, run.target
        if primary is None or target is None:
            return HandoverRefused("there is no primary, or no target")
        try:
            found = await self.steps.hand_over(primary, target)
        except StepError as error:
            if error.is_refused and await self._is_still(primary, run.record.run_id):
                return HandoverRefused(str(error))
            return HandoverUnclear(str(error))
        return HandedOver(found.lineage, found.run_id)

    async def _is_still(self, primary: Address, run_id: str) -> bool:
        """Whether it is a primary, and the process that was one."""
        try:
            return (await self.steps.inspect(primary)).run_id == run_id
        except StepError:
            return False

    async def _publish(self, run: Run) -> Event:
        if run.primary is None:
            raise ValueError("nobody was promoted")
        settled = run.record
        if run.primary != settled.last:
            settled = quorum.promoted(settled, run.primary)
        settled = settled.settled(run.primary, run.lineage, run.run_id)
        joined = {*settled.joined, run.primary}
        settled = replace(settled, joined=tuple(node for node in settled.nodes if node in joined))
        if run.backs_off is not None:
            settled = replace(settled, flapping=run.backs_off)
        record = await self._put(settled)
        why_not = await self._why_not_served(record)
        # it is on record: proxies follow it as soon as they can
        return Published(record) if why_not is None else Lost(why_not)

    async def _heal(self, run: Run) -> Event:
        """At once, as far as they answer; what is left is found by its health."""
        record = run.record

        async def follow(node: Address, to: Address) -> None:
            try:
                await self.steps.follow(node, to, record)
            except StepError:
                return

        async with trio.open_nursery() as nursery:
            for node in _members(run):
                if record.primary is not None and node != record.primary:
                    nursery.start_soon(follow, node, record.primary)
        return Healed()

    async def _put(self, record: ShardRecord) -> ShardRecord:
        return await self.store.put(record, self.leadership)

    async def _why_not_served(self, record: ShardRecord) -> str | None:
        """Wait until every proxy serves the record; the reason one does not, or None."""
        try:
            with trio.fail_after(self.settings.fence_timeout):
                await self.fencer.wait_served(record)
        except FenceError as error:
            return str(error)
        except trio.TooSlowError:
            return f"a proxy did not confirm epoch {record.epoch} in time"
        return None


def _members(run: Run) -> Iterable[Address]:
    """The nodes that have, or had, the shard's data: nobody else's is touched."""
    record = run.record
    vouching = sorted(quorum.members(record))
    return dict.fromkeys(
        node
        for node in (*record.joined, *vouching, record.last, record.target, run.trusted)
        if node is not None
    )


def _run_id_of(run: Run, node: Address) -> str | None:
    """The process that was frozen: no other one is promoted in its place."""
    return next((c.run_id for c in run.candidates if c.address == node), None)
