"""One transaction, made once whatever becomes of the answer.

Each is such that it can be sent again: it compares what it replaces, or says the same whenever it comes. So
an answer that is missing is asked for again, and who finds its own value there has succeeded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import trio

from shardproxy.store.etcd.client import Client
from shardproxy.store.etcd.errors import DataLostError, EtcdUnavailableError
from shardproxy.store.etcd.messages import (
    Entry,
    Message,
    Operation,
    Outcome,
    is_created,
    outcome_of,
    to_read,
    transaction,
)
from shardproxy.store.etcd.position import REMEDY
from shardproxy.store.interface import StoreUnavailableError
from shardproxy.store.statistics import StoreStatistics

PATIENCE = 4.0  # seconds; etcd has another leader by then, or will not have one soon
PAUSE = 0.1  # seconds
AT_ONCE = 32  # so many: what keeps the lease alive is not to wait behind them
TURN_WITHIN = 10.0  # seconds


class Transactions:
    """Makes them where the group is still the one that was read, and counts how long they take."""

    def __init__(
        self,
        client: Client,
        statistics: StoreStatistics,
        group: Callable[[], Entry | None],
        why_lost: Callable[[], str],
    ) -> None:
        self._client = client
        self._statistics = statistics
        self._group = group
        self._why_lost = why_lost
        self._turn = trio.CapacityLimiter(AT_ONCE)

    async def make(
        self,
        compare: Sequence[dict[str, Any]],
        success: Sequence[Operation],
        failure: Sequence[Operation] = (),
        *,
        is_counted: bool = True,
    ) -> Outcome:
        """Return what came of it; raise StoreUnavailableError when that is not known in time."""
        if why := self._why_lost():
            raise DataLostError(why)
        group = self._group()
        if group is None:
            raise StoreUnavailableError("etcd has not been read yet")
        body = transaction(
            [is_created(group.key, group.created), *compare], success, [to_read(group.key), *failure]
        )
        began, is_done = trio.current_time(), False
        try:
            outcome = outcome_of(await self._answer(body))
            if not outcome.is_done and found_of(outcome, group.key).created != group.created:
                raise DataLostError(f"{group.key} is not what it was, and nothing is written: {REMEDY}")
            is_done = True
            return outcome
        finally:
            if is_counted:
                self._statistics.observe(trio.current_time() - began, ok=is_done)

    async def _answer(self, body: dict[str, Any]) -> Message:
        why = EtcdUnavailableError(f"no answer within {PATIENCE:g} s")
        with trio.move_on_after(TURN_WITHIN) as waiting:
            async with self._turn:
                waiting.deadline = trio.current_time() + PATIENCE
                while True:
                    try:
                        return await self._client.call("/v3/kv/txn", body)
                    except EtcdUnavailableError as error:
                        why = error
                    await trio.sleep(PAUSE)
        raise why


def found_of(outcome: Outcome, key: str) -> Entry:
    """What the transaction found at a key; without value and revision when there is nothing."""
    return next((entry for entry in outcome.found if entry.key == key), Entry(key, None, 0))
