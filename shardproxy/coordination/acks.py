"""Says in the store what this process serves.

    applied (what the data plane serves) ─> store.ack ─> acks of all members

A store that cannot be reached holds up nothing but the acks: the data plane has been told already.
"""

from __future__ import annotations

import structlog
import trio

from shardproxy.model.board import Board, News
from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import Store, StoreUnavailableError

RETRY = 0.5  # seconds until a store that could not be reached is tried again

log = structlog.get_logger()


async def run_acks(
    applied: Board[ShardKey, int],
    store: Store,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Keep this member's acks as `applied` is, also after the store has forgotten them, until cancelled."""
    news = News()
    applied.subscribe(news)
    store.acks.subscribe(news)
    is_down = False
    try:
        task_status.started()
        while True:
            try:
                await _tell(applied, store)
                is_down = False
            except StoreUnavailableError as error:
                if not is_down:
                    log.warning("the store does not learn what is served", why=str(error))
                is_down = True
            with trio.move_on_after(RETRY if is_down else float("inf")):
                await news.wait()
    finally:
        applied.unsubscribe(news)
        store.acks.unsubscribe(news)


async def _tell(applied: Board[ShardKey, int], store: Store) -> None:
    for key in [key for member, key in store.acks if member == store.member and key not in applied]:
        await store.ack(key, None)
    for key, changed in list(applied.items()):
        if store.acks.get((store.member, key)) != changed:
            await store.ack(key, applied.get(key))
