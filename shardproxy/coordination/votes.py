"""What proxies that share a store find of primaries: none of them fails over what the others reach.

    health ─> vote of this process ─> store ─> votes of all members ─> objection ─> its leader

A vote is said when a primary does not seem well to this process; who finds nothing wrong says nothing. The
leader may act on silence when more than half of the live members that serve the cluster, itself among them,
do not reach the primary either. Whoever is no live member any more, or leaves, does not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog
import trio

from shardproxy.failover.setup import ShardSetup
from shardproxy.model import Address
from shardproxy.model.board import Board, News
from shardproxy.model.health import NodeHealth, NodeKey, NodeState
from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import MemberKey, Store, StoreUnavailableError
from shardproxy.store.member import Member, Vote
from shardproxy.store.record import ShardRecord

STANDS = 0.15  # seconds until a suspicion is said: shorter ones are a busy moment, and cost the store nothing
RETRY = 0.5  # seconds until a store that could not be reached is tried again

log = structlog.get_logger()


def objection(
    key: ShardKey,
    primary: Address,
    own: str,
    members: Mapping[str, Member],
    votes: Mapping[MemberKey, Vote],
) -> str | None:
    """Why silence that this process sees proves nothing of a primary: too many of the others reach it."""
    others = [
        name
        for name, member in members.items()
        if name != own and key.cluster in member.endpoints and not member.is_draining
    ]
    reaching = sum(
        (vote := votes.get((name, key))) is None or vote.primary != str(primary) for name in others
    )
    total = len(others) + 1
    if 2 * (total - reaching) > total:
        return None
    return f"{reaching} of {total} proxies still reach {primary}"


@dataclass(frozen=True, slots=True)
class VotesOfMembers:
    """The others' part in a leader's decisions, as the store shows it."""

    store: Store

    def objection(self, key: ShardKey, primary: Address) -> str | None:
        store = self.store
        return objection(key, primary, store.member, store.members, store.votes)


def vote_wanted(record: ShardRecord, health: NodeHealth | None, now: float) -> tuple[Vote | None, float]:
    """What is to be said of the record's primary now, and when that may be another thing without news."""
    never = float("inf")
    if record.primary is None or health is None or health.epoch != record.epoch:
        return None, never
    verdict = health.verdict
    if verdict.is_down:
        return Vote(str(record.primary), is_down=True, why=verdict.reason), never
    if verdict.is_answering or verdict.state is NodeState.DENIED:
        return None, never
    if now < (at := verdict.since + STANDS):
        return None, at
    return Vote(str(record.primary), is_down=False, why=verdict.reason), never


async def run_votes(
    setups: Board[ShardKey, ShardSetup],
    health: Board[NodeKey, NodeHealth],
    store: Store,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Keep this member's votes on the primaries of these shards as it finds them, until cancelled.

    The store is told of changes only, and again what it has forgotten.
    """
    news = News()
    heard: tuple[Board[Any, Any], ...] = (setups, health, store.records, store.votes)
    for board in heard:
        board.subscribe(news)
    is_down = False
    told: set[ShardKey] = set()  # on which something was said
    try:
        task_status.started()
        while True:
            try:
                review_at = await _say(setups, health, store, told)
                is_down = False
            except StoreUnavailableError as error:
                if not is_down:
                    log.warning("the others do not learn which primaries this proxy reaches", why=str(error))
                is_down, review_at = True, trio.current_time() + RETRY
            with trio.move_on_at(review_at):
                await news.wait()
    finally:
        for board in heard:
            board.unsubscribe(news)


async def _say(
    setups: Mapping[ShardKey, ShardSetup],
    health: Mapping[NodeKey, NodeHealth],
    store: Store,
    told: set[ShardKey],
) -> float:
    """Say what is new; return when to look again without news."""
    review_at = float("inf")
    for key in dict.fromkeys((*setups, *sorted(told))):
        record = store.records.get(key)
        wanted = None
        if key in setups and record is not None and record.primary is not None:
            seen = health.get((key, record.primary))
            wanted, at = vote_wanted(record, seen, trio.current_time())
            review_at = min(review_at, at)
        if not _is_same(wanted, store.votes.get((store.member, key))):
            told.add(key)
            await store.vote(key, wanted)
        if wanted is None:
            told.discard(key)
    return review_at


def _is_same(one: Vote | None, other: Vote | None) -> bool:
    """Whether they say the same; for which reason is for people."""
    if one is None or other is None:
        return one is other
    return (one.primary, one.is_down) == (other.primary, other.is_down)
