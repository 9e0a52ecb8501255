"""Walks the machine: each step's work, and what came of it as an event. Decides nothing by itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import trio

from shardproxy.failover.election import (
    Candidate,
    Electorate,
    best_of_restarted,
    choose,
    why_too_few,
)
from shardproxy.failover.interfaces import FenceError, Fencer
from shardproxy.failover.machine import (
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
    Run,
    Step,
    TooFew,
    advance,
)
from shardproxy.failover.setup import FailoverSettings, ShardSetup
from shardproxy.failover.steps import StepError, Steps
from shardproxy.model import Address
from shardproxy.store.interface import ConflictError, Leadership, Store, StoreUnavailableError
from shardproxy.store.record import ShardState

SETBACKS = (TooFew, Held, NobodyElectable, PromotionFailed)


@dataclass(slots=True)
class Runner:
    """Walks runs of one shard."""

    setup: ShardSetup
    store: Store
    leadership: Leadership
    steps: Steps
    fencer: Fencer
    settings: FailoverSettings
    at_once: trio.CapacityLimiter

    async def walk(self, run: Run) -> Run:
        """Walk until it is over, or cannot go on now: it may be walked on later, from where it stands."""
        async with self.at_once:
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
            return ClaimedSwitchover(await self.store.put(record, self.leadership))
        state = ShardState.HELD if run.kind is Kind.HOLD else ShardState.FENCING
        record = replace(run.record.fenced(state), target=run.trusted)
        return Claimed(await self.store.put(record, self.leadership))

    async def _fence(self, run: Run) -> Event:
        """The data plane and the engines at once: either alone keeps old writes from being acknowledged."""
        record = run.record
        why_not: list[str] = []
        frozen: list[Candidate] = []

        async def fence() -> None:
            try:
                with trio.fail_after(self.settings.fence_timeout):
                    await self.fencer.wait_served(record)
            except FenceError as error:
                why_not.append(str(error))
            except trio.TooSlowError:
                why_not.append(f"a proxy did not confirm epoch {record.epoch} in time")

        async def freeze(node: Address) -> None:
            try:
                zone = self.setup.zone_of(node)
                candidate = await self.steps.freeze(node, zone=zone, cut_clients=node == record.last)
                frozen.append(candidate.with_one_name(record.lineage, run.other_name))
            except StepError:
                return  # it does not count among those that answer, and that is all

        async with trio.open_nursery() as late:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fence)
                for node in _members(run):
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
        if any(candidate.address == run.trusted for candidate in run.candidates):
            return Enough()
        if best_of_restarted(run.record, run.candidates) is not None:
            return Enough()
        too_few = why_too_few(run.record, run.candidates, self.setup.wait)
        return TooFew(too_few) if too_few is not None else Enough()

    def _choose(self, run: Run) -> Event:
        if any(candidate.address == run.trusted for candidate in run.candidates) and run.trusted is not None:
            return Chosen(run.trusted)
        if (restarted := best_of_restarted(run.record, run.candidates)) is not None:
            return Chosen(restarted)
        electorate = Electorate(run.record.lineage, self.settings.zone, run.barred)
        choice = choose(run.candidates, electorate)
        return Chosen(choice.best.address) if choice.best is not None else NobodyElectable(str(choice))

    async def _promote(self, run: Run) -> Event:
        """The store first: whoever comes after us must know whom this epoch may have made a primary."""
        if run.target is None:
            raise ValueError("no target was chosen")
        record = await self.store.put(run.record.promoting(run.target), self.leadership)
        try:
            primary = await self.steps.promote(run.target)
        except StepError as error:
            return PromotionFailed(str(error))
        return Promoted(record, primary.lineage, primary.run_id)

    async def _park(self, run: Run) -> Event:
        try:
            with trio.fail_after(self.settings.fence_timeout):
                await self.fencer.wait_served(run.record)
        except FenceError as error:
            return HandoverRefused(str(error))
        except trio.TooSlowError:
            return HandoverRefused("requests are in flight for too long")
        return Parked()

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
        settled = run.record.settled(run.primary, run.lineage, run.run_id)
        joined = {*settled.joined, run.primary}
        settled = replace(settled, joined=tuple(node for node in settled.nodes if node in joined))
        record = await self.store.put(settled, self.leadership)
        try:
            await self.fencer.wait_served(record)
        except FenceError as error:
            return Lost(str(error))  # it is on record: whoever tends the shard publishes it again
        return Published(record)

    async def _heal(self, run: Run) -> Event:
        """At once, as far as they answer; what is left is found by its health."""
        primary = run.record.primary

        async def follow(node: Address, to: Address) -> None:
            try:
                await self.steps.follow(node, to)
            except StepError:
                return

        async with trio.open_nursery() as nursery:
            for node in _members(run):
                if primary is not None and node != primary:
                    nursery.start_soon(follow, node, primary)
        return Healed()


def _members(run: Run) -> Iterable[Address]:
    """The nodes that have, or had, the shard's data: nobody else's is touched."""
    record = run.record
    return dict.fromkeys(
        node for node in (*record.joined, record.last, record.target, run.trusted) if node is not None
    )
