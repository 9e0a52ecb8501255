"""Does what an operator asks of a shard, and answers: the notes of requests.py."""

from __future__ import annotations

from collections.abc import Container

import trio

from shardproxy.failover.adoption import is_heard
from shardproxy.failover.decide import switchover_target
from shardproxy.failover.events import EventName
from shardproxy.failover.machine import Kind, Run, Step
from shardproxy.failover.quorum import QuorumError
from shardproxy.failover.requests import STOPPED, Request, request_decode, request_encode, request_key
from shardproxy.failover.shard.change import walk
from shardproxy.failover.shard.tended import Tended
from shardproxy.failover.steps import StepError
from shardproxy.model.board import News
from shardproxy.store.interface import ConflictError, StoreError, StoreUnavailableError
from shardproxy.store.notes import Note

ANSWER_WITHIN = 2.0  # seconds


async def serve_asked(shard: Tended, news: News) -> bool:
    """Serve a request, if there is one that is not over; raise StoreUnavailableError: it was not taken."""
    store, name = shard.shared.store, request_key(shard.key)
    note = store.notes.get(name)
    request = request_decode(note.value) if note is not None else None
    if note is None or request is None or request.is_over:
        return False
    try:
        if not is_waited_for(request, store.members):
            await store.drop(name, expected=note.revision)
        elif request.taken is not None:
            identity, why_not = shard.outcome or ("", None)
            is_ours = identity == request.id  # we have done it, and could not say so
            await _answer(shard, note, request, why_not if is_ours else STOPPED)  # by whoever led before
        else:
            request = request.taken_by(store.member)
            note = await store.note(name, request_encode(request), expected=note.revision)
            await _serve(shard, note, request, news)
    except ConflictError:
        await trio.lowlevel.checkpoint()  # it was withdrawn: what is newer shows in a moment
        return False
    return True


def is_waited_for(request: Request, members: Container[str]) -> bool:
    """Whether who asked is still there: what nobody waits for is not done by surprise."""
    return request.by in members


async def _serve(shard: Tended, note: Note, request: Request, news: News) -> None:
    if request.is_test:
        shard.say(EventName.TEST_FAILOVER_CALLED, "a test failover was asked for")
    why_not: str | None = STOPPED
    try:
        why_not = await _change_primary(shard, request, news)
    except (StoreUnavailableError, ConflictError, StepError, QuorumError) as error:
        why_not = str(error)
    finally:
        if why_not is not None:
            shard.say(EventName.SWITCHOVER_FAILED, why_not)
        shard.outcome = (request.id, why_not)
        with trio.move_on_after(ANSWER_WITHIN, shield=True):
            await _answer(shard, note, request, why_not)


async def _answer(shard: Tended, note: Note, request: Request, why_not: str | None) -> None:
    """The asker hears of it, if it still waits, and if the store can be reached."""
    try:
        await shard.shared.store.note(
            request_key(shard.key), request_encode(request.answered(why_not)), expected=note.revision
        )
    except StoreError:
        return


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
