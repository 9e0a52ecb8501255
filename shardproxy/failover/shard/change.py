"""Changes a shard's primary: failovers, switchovers, and holds until one is allowed."""

from __future__ import annotations

import time
from dataclasses import replace

import trio

from shardproxy.failover.backoff import backoff_after
from shardproxy.failover.decide import FailOver
from shardproxy.failover.events import EventName
from shardproxy.failover.machine import Kind, Run, Step
from shardproxy.failover.runner import Runner
from shardproxy.failover.shard.tended import REDO, Tended


async def fail_over(shard: Tended, wanted: FailOver) -> float:
    """Promote the best node, or the only choice; return when to look again, at the latest."""
    reason, to = wanted.reason, wanted.to
    record, now = shard.record, trio.current_time()
    run, is_first = shard.unfinished, record.last is None and record.lineage is None
    is_given_up = run is not None and run.trusted is not None and to is None and not is_first
    if run is None or run.record != record or run.kind is not Kind.FAILOVER or is_given_up:
        shard.say(EventName.FAILOVER_STARTED, reason)
        run = Run(
            Kind.FAILOVER,
            record,
            reason,
            now,
            trusted=to or (record.target if is_first else None),
            floor=shard.memory.floor(now),
            must_have_data=wanted.must_have_data,
            backs_off=None if wanted.is_resumed else backoff_after(record.flapping, time.time()),
            other_name=shard.memory.other_name(record),
        )
    run = await walk(shard, run)
    if run.step is Step.DONE:
        return trio.current_time()
    return shard.rest(REDO if run.is_over else shard.shared.settings.retry_interval)


async def hold(shard: Tended, reason: str, until: float | None, *, may_touch: bool) -> float:
    """Serve nothing, and let no replica take an empty primary's data, until somebody may be promoted."""
    run = shard.unfinished
    if run is None or run.record != shard.record or run.kind is not Kind.HOLD:
        floor = shard.memory.floor(trio.current_time())
        run = Run(Kind.HOLD, shard.record, reason, trio.current_time(), floor=floor)
    await walk(shard, replace(run, reason=reason, may_touch=may_touch))
    now = trio.current_time()
    return shard.rest(min(REDO, max(0.0, until - now) if until is not None else REDO))


async def walk(shard: Tended, run: Run) -> Run:
    """Walk a run to its end, and say how it ended."""
    shared, primary = shard.shared, run.record.primary or run.record.last
    runner = Runner(
        shard.setup,
        shared.led,
        shared.leadership,
        shared.steps,
        shared.fencer,
        shared.settings,
    )
    async with shared.limits.at_once if primary is not None else shared.limits.at_start:
        begun, run = run, await runner.walk(run)
    shard.unfinished = None if run.is_over else run
    if run.step is Step.STOPPED and shard.record == begun.record:  # nothing came of it: not another one
        shard.unfinished = replace(begun, setback=run.setback)
    took = trio.current_time() - run.started_at
    if run.step is Step.DONE:
        name = EventName.FAILOVER_COMPLETE if primary is not None else EventName.PRIMARY_ADOPTED
        if run.kind is Kind.SWITCHOVER:
            name = EventName.SWITCHOVER_FAILED if run.setback else EventName.SWITCHOVER_COMPLETE
        said = f"{run.record.primary} is the primary of epoch {run.record.epoch}, after {took:.2f} s"
        said += f" (before: {primary})" if primary is not None else ""
        said += f": {run.setback or run.reason}"
        shard.say(name, said, seconds=took)
    elif run.is_over:
        if run.setback != begun.setback:
            shard.say(EventName.FAILOVER_DELAYED, run.setback)
        shard.set_alarm(f"{run.kind.value} is stuck: {run.setback}")
    else:
        stuck = "not served" if run.kind is Kind.HOLD else f"{run.kind.value} is stuck"
        shard.set_alarm(f"{stuck}: {run.setback} (to promote a node all the same: {shard.advice})")
    return run
