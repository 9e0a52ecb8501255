"""One shard's task: waits for news of it, decides what it needs, has it done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import trio

from shardproxy.failover.backoff import backoff_left, backoff_lifted
from shardproxy.failover.decide import (
    Accept,
    FailOver,
    Heal,
    Hold,
    Nothing,
    Register,
    Update,
    decide,
)
from shardproxy.failover.interfaces import FenceError
from shardproxy.failover.memory import LEFT_BEHIND
from shardproxy.failover.quorum import QuorumError
from shardproxy.failover.requests import acknowledged_count, acknowledged_key, paused_key, request_key
from shardproxy.failover.setup import ShardSetup
from shardproxy.failover.shard.asked import serve_asked
from shardproxy.failover.shard.change import fail_over, hold
from shardproxy.failover.shard.heal import heal
from shardproxy.failover.shard.keeping import keep_on_file
from shardproxy.failover.shard.register import accept, register
from shardproxy.failover.shard.tended import REDO, OutvotedError, Shared, Tended
from shardproxy.failover.steps import StepError
from shardproxy.model.board import LATER, News
from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import ConflictError, StoreUnavailableError
from shardproxy.store.record import ShardState


async def tend(shared: Shared, setup: ShardSetup) -> None:
    """Tend a shard until cancelled, and not while it is withdrawn.

    Raise LeadershipLostError, or OutvotedError when somebody else had better lead.
    """
    key = setup.key
    acknowledged = acknowledged_count(shared.store.notes, key)
    shard = Tended(shared, setup, trio.current_time(), acknowledged=acknowledged)
    with news_of(shared, key) as news:
        while True:
            if key not in shared.setups:
                await news.wait()
                continue
            try:
                until = await _look(shard, news)
            except (StoreUnavailableError, ConflictError, FenceError, StepError, QuorumError) as error:
                shard.set_alarm(str(error))
                until = shard.rest(REDO)
            if shard.outvoted_at is not None and shard.outvoted_at > trio.current_time():  # looked at then
                until = min(shard.outvoted_at, float("inf") if until is None else until)
            if until is None:
                await news.wait()
            else:
                with trio.move_on_at(until):
                    await news.wait()


@contextmanager
def news_of(shared: Shared, key: ShardKey) -> Iterator[News]:
    """Rung at every change of what is read of that shard."""
    news = News()
    boards = (
        (shared.setups, key, 0.0),
        (shared.health, key, 0.0),
        (shared.store.records, key, LATER),  # who has just written one looks anyway; others move slots
        (shared.store.acks, key, LATER),
        (shared.store.votes, key, 0.0),
        (shared.store.notes, request_key(key).topic, 0.0),
        (shared.store.notes, acknowledged_key(key).topic, 0.0),
        (shared.store.notes, paused_key(key.cluster).topic, 0.0),
        (shared.chores.wanted, key, 0.0),
    )
    for board, topic, patience in boards:
        board.subscribe(news, topic, patience=patience)
    try:
        yield news
    finally:
        for board, topic, _ in boards:
            board.unsubscribe(news, topic)


async def _look(shard: Tended, news: News) -> float | None:
    """Do what is needed; return when to look again, at the latest."""
    shard.memory = shard.memory.noted(shard.record, shard.healths(), trio.current_time())
    if await serve_asked(shard, news):
        return trio.current_time()
    if trio.current_time() < shard.rests_until:
        return shard.rests_until
    await _lift_backoff(shard)
    situation = shard.situation()
    _give_way(shard, situation.objection)
    match decide(situation):
        case Nothing(alarm, is_unclear, until):
            if not is_unclear:
                shard.set_alarm(alarm)
            if situation.record.state is ShardState.OK:
                await keep_on_file(shard)
                return await _note_floor(shard, until)
            return until
        case Register(found, must_have_data):
            return await register(shard, found, must_have_data=must_have_data)
        case Update(record):
            await shard.put(record)
        case Accept(why, must_have_data):
            return await accept(shard, why, must_have_data=must_have_data)
        case FailOver() as wanted:
            return await fail_over(shard, wanted)
        case Hold(reason, until, may_touch):
            return await hold(shard, reason, until, may_touch=may_touch)
        case Heal(actions):
            return await _note_floor(shard, await heal(shard, actions))
    return trio.current_time()


def _give_way(shard: Tended, objection: str | None) -> None:
    """Let another one lead, but not while a failover of another shard is under way."""
    if objection is None or shard.outvoted_at is None or trio.current_time() < shard.outvoted_at:
        return
    if shard.shared.limits.at_once.borrowed_tokens:
        shard.objected_since = trio.current_time()
    else:
        raise OutvotedError(f"{shard.key}: {objection}")


async def _lift_backoff(shard: Tended) -> None:
    """An operator has acknowledged the last failover."""
    acknowledged = acknowledged_count(shard.shared.store.notes, shard.key)
    if acknowledged == shard.acknowledged:
        return
    shard.acknowledged = acknowledged
    if (flapping := shard.record.flapping) is not None and backoff_left(flapping, time.time()):
        await shard.put(replace(shard.record, flapping=backoff_lifted(flapping)))


async def _note_floor(shard: Tended, until: float | None) -> float:
    """Put on record what the primary had passed a while ago, now and then, all shards at the same moments."""
    now = trio.current_time()
    due = (now // LEFT_BEHIND + 1) * LEFT_BEHIND
    if now - shard.noted_at >= LEFT_BEHIND or now // LEFT_BEHIND != shard.noted_at // LEFT_BEHIND:
        shard.noted_at = now
        floor = shard.memory.floor(now)
        if floor > shard.record.floor:
            await shard.put(replace(shard.record, floor=floor))
    return due if until is None else min(due, until)
