"""A source behind a circuit breaker, as all are used."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
import trio

from shardproxy.caching.sources.breaker import Breaker, Outcome, State
from shardproxy.caching.sources.interface import (
    Given,
    Loaded,
    Operation,
    Parts,
    Source,
    SourceBusyError,
    SourceDownError,
    SourceRefusedError,
    SourceSlowError,
    SourceUnfitError,
    WriteOf,
    Writing,
)
from shardproxy.caching.sources.turns import Turns

if TYPE_CHECKING:
    from shardproxy.caching.rules import Rule

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SourceStatistics:
    """How a source is."""

    state: State
    taken: int  # connections that are in use
    waiting: int  # requests that wait for one
    connections: int  # the most


class GuardedSource:
    """Asks a source unless it has just failed several times in a row."""

    def __init__(
        self,
        name: str,
        source: Source,
        turns: Turns,
        breaker: Breaker,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._name = name
        self._source = source
        self._turns = turns
        self._breaker = breaker
        self._clock = clock

    def statistics(self) -> SourceStatistics:
        turns = self._turns
        return SourceStatistics(self._breaker.state, turns.taken, turns.waiting, turns.most)

    async def load(self, rule: Rule, parts: Parts) -> Loaded | None:
        with self._judged():
            return await self._source.load(rule, parts)

    def writing(
        self, rule: Rule, parts: Parts, op: Operation, given: Given
    ) -> AbstractAsyncContextManager[Writing]:
        return self.writing_all([(rule, parts, op, given)])

    @asynccontextmanager
    async def writing_all(self, writes: Sequence[WriteOf]) -> AsyncIterator[Writing]:
        entering = self._source.writing_all(writes)
        with self._judged():
            writing = await entering.__aenter__()
        try:
            yield _Judged(writing, self)
        except BaseException as e:
            if not await entering.__aexit__(type(e), e, e.__traceback__):
                raise
        else:
            await entering.__aexit__(None, None, None)

    @contextmanager
    def judged_commit(self) -> Iterator[None]:
        """What a commit tells counts, too; it is never withheld."""
        with self._heard(self._breaker.state):
            yield

    @contextmanager
    def _judged(self) -> Iterator[None]:
        asked = self._breaker.asked(self._clock())
        if asked is None:
            raise SourceDownError("the source failed several times, and is left alone for a while")
        self._become(asked)
        with self._heard(asked.state):
            yield

    @contextmanager
    def _heard(self, was: State) -> Iterator[None]:
        outcome, why = Outcome.UNKNOWN, ""
        try:
            yield
            outcome = Outcome.ANSWERED
        except (SourceRefusedError, SourceUnfitError):
            outcome = Outcome.ANSWERED
            raise
        except (SourceDownError, SourceSlowError) as e:
            outcome, why = Outcome.FAILED, e.detail
            raise
        except SourceBusyError:
            raise  # it was not asked, or is about to answer others
        finally:
            self._become(self._breaker.heard(outcome, self._clock(), was=was), why)

    def _become(self, breaker: Breaker, why: str = "") -> None:
        before, self._breaker = self._breaker.state, breaker
        if before is State.CLOSED and breaker.state is State.OPEN:
            log.warning("source is left alone", source=self._name, why=why)
        elif before is State.TRYING and breaker.state is State.CLOSED:
            log.info("source answers again", source=self._name)


@dataclass(frozen=True, slots=True)
class _Judged:
    """A write whose commit is heard."""

    writing: Writing
    source: GuardedSource

    async def commit(self) -> None:
        with self.source.judged_commit():
            await self.writing.commit()
