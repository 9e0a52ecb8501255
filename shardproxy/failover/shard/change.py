"""Changes a shard's primary: failovers, switchovers, and holds until one is allowed."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace

import trio

from shardproxy.failover.adoption import is_heard
from shardproxy.failover.backoff import backoff_after
from shardproxy.failover.controls import Request
from shardproxy.failover.decide import FailOver, switchover_target
from shardproxy.failover.events import EventName
from shardproxy.failover.machine import Kind, Run, Step
from shardproxy.failover.quorum import QuorumError
from shardproxy.failover.runner import Runner
from shardproxy.failover.shard.tended import REDO, Tended
from shardproxy.failover.steps import StepError
from shardproxy.model.board import News
from shardproxy.store.interface import ConflictError, StoreUnavailableError


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


async def serve(shard: Tended, request: Request, news: News) -> None:
    """Do what an operator asked for, and answer."""
    controls = shard.shared.controls
    request.is_taken = True
    if request.is_test:
        shard.say(EventName.TEST_FAILOVER_CALLED, "a test failover was asked for")
    why_not: str | None = "the controller stopped before it was done"
    try:
        why_not = await _change_primary(shard, request, news)
    except (StoreUnavailableError, ConflictError, StepError, QuorumError) as error:
        why_not = str(error)
    finally:
        if controls.requests.get(shard.key) is request:
            controls.requests.hide(shard.key)
        with contextlib.suppress(trio.BrokenResourceError):  # the asker waits no more
            request.answer.send_nowait(why_not)
        if why_not is not None:
            shard.say(EventName.SWITCHOVER_FAILED, why_not)


async def _change_primary(shard: Tended, request: Request, news: News) -> str | None:
    await _wait_asked(shard, news)
    record, now = shard.record, trio.current_time()
    if request.is_forced:
        if request.to not in record.nodes:
            return f"{request.to} is not a node of this shard"
        health = shard.healths().get(request.to)
        if health is not None and not health.verdict.is_answering:
            return f"{request.to} does not answer: {health.verdict.reason}"
        run = Run(Kind.FAILOVER, record, "an operator chose it", now, trusted=request.to)
    else:
        target = switchover_target(shard.setup, record, shard.healths(), request.to)
        if isinstance(target, str):
            return target
        run = Run(Kind.SWITCHOVER, record, "an operator asked for it", now, target=target)
    run = await walk(shard, run)
    if run.step is Step.DONE and run.primary == (run.trusted or run.target):
        return None
    return run.setback or f"{run.primary} became the primary instead"


async def _wait_asked(shard: Tended, news: News) -> None:
    """Wait until the nodes were asked since the last change, but not for long."""
    with trio.move_on_after(shard.shared.settings.adopt_after):
        while True:
            healths = shard.healths()
            if all(is_heard(healths.get(node)) for node in shard.record.nodes):
                return
            await news.wait()


async def walk(shard: Tended, run: Run) -> Run:
    """Walk a run to its end, and say how it ended."""
    shared, primary = shard.shared, run.record.primary or run.record.last
    runner = Runner(
        shard.setup,
        shared.store,
        shared.leadership,
        shared.steps,
        shared.fencer,
        shared.settings,
    )
    async with shared.at_once if primary is not None else shared.at_start:
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
