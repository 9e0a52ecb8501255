"""What proxies that share a store find of primaries: none of them fails over what the others reach.

    health ─> vote of this process ─> store ─> votes of all members ─> objection ─> its leader

A vote is what a live member finds of a primary while it watches it. Whoever cannot say so (it has an older
config, its monitor has ended, it leaves) does not count. The leader may act on silence when more than half of
those that vote, itself among them, get no answer from the primary either, and none of them knows why it is
silent: a request that takes long was sent by one proxy, and is a cause for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog
import trio

from shardproxy.failover.interfaces import Objection
from shardproxy.failover.setup import ShardSetup
from shardproxy.health.monitor import Boards
from shardproxy.model import Address
from shardproxy.model.board import Board, News
from shardproxy.model.health import Cause, NodeHealth, NodeState, Verdict
from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import MemberKey, Store, StoreUnavailableError
from shardproxy.store.member import Finding, Member, Vote
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
) -> Objection | None:
    """What speaks against silence that this process sees of a primary."""
    others = _others(key, primary, own, members, votes)
    total = len(others) + 1
    reaching = sum(vote.finding is Finding.REACHES for vote in others.values())
    answered = reaching + sum(vote.finding is Finding.DENIED for vote in others.values())
    is_outvoted = 2 * reaching >= total
    if 2 * answered >= total:
        return Objection(f"{answered} of {total} proxies still reach {primary}", is_outvoted)
    for name, vote in others.items():
        if vote.finding is Finding.EXPLAINED:
            return Objection(f"{name} knows why: {vote.why}", is_outvoted)
    return None


def _others(
    key: ShardKey,
    primary: Address,
    own: str,
    members: Mapping[str, Member],
    votes: Mapping[MemberKey, Vote],
) -> dict[str, Vote]:
    """What other live members find of that primary."""
    found = {
        name: votes.get((name, key))
        for name, member in members.items()
        if name != own and not member.is_draining
    }
    return {name: vote for name, vote in found.items() if vote is not None and vote.primary == str(primary)}


@dataclass(frozen=True, slots=True)
class VotesOfMembers:
    """The others' part in a leader's decisions, as the store shows it."""

    store: Store

    def objection(self, key: ShardKey, primary: Address) -> Objection | None:
        store = self.store
        return objection(key, primary, store.member, store.members, store.votes)

    def why_down(self, key: ShardKey, primary: Address) -> str | None:
        others = _others(key, primary, self.store.member, self.store.members, self.store.votes)
        down = sum(vote.finding is Finding.DOWN for vote in others.values())
        total = len(others) + 1
        return f"{down} of {total} proxies find {primary} down" if 2 * down > total else None


def vote_wanted(
    record: ShardRecord, health: NodeHealth | None, said: Vote | None, now: float
) -> tuple[Vote | None, float]:
    """What is to be said of the record's primary now, and when that may be another thing without news.

    `said`: before; it stands while a suspicion may be a busy moment, or the primary is asked in a new epoch.
    """
    never = float("inf")
    if record.primary is None or health is None:
        return None, never
    stands = said if said is not None and said.primary == str(record.primary) else None
    if health.epoch != record.epoch:
        return stands, never
    finding = finding_of(health.verdict)
    if finding is Finding.SUSPECT and now < (at := health.verdict.since + STANDS):
        return stands, at
    if finding is None:
        return None, never
    why = "" if finding is Finding.REACHES else health.verdict.reason
    return Vote(str(record.primary), finding, why), never


def finding_of(verdict: Verdict) -> Finding | None:
    """What a verdict means to others; nothing as long as the node was not heard of."""
    if verdict.is_down:
        return Finding.DOWN
    match verdict.state:
        case NodeState.UNKNOWN:
            return None
        case NodeState.DENIED:
            return Finding.DENIED
        case NodeState.BUSY if verdict.cause is Cause.SILENT:
            return Finding.EXPLAINED
    return Finding.REACHES if verdict.is_answering else Finding.SUSPECT


async def run_votes(
    setups: Board[ShardKey, ShardSetup],
    boards: Boards,
    store: Store,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Keep this member's votes on the primaries of these shards as it finds them, until cancelled.

    The store is told of changes only, and again what it has forgotten.
    """
    news = News()
    heard: tuple[Board[Any, Any], ...] = (setups, boards.health, boards.watched, store.records, store.votes)
    for board in heard:
        board.subscribe(news)
    is_down = False
    told: set[ShardKey] = set()  # on which something was said
    try:
        task_status.started()
        while True:
            try:
                review_at = await _say(setups, boards, store, told)
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
    boards: Boards,
    store: Store,
    told: set[ShardKey],
) -> float:
    """Say what is new; return when to look again without news."""
    review_at = float("inf")
    news: dict[ShardKey, Vote | None] = {}
    for key in dict.fromkeys((*setups, *sorted(told))):
        record = store.records.get(key)
        wanted = None
        is_ours = (setup := setups.get(key)) is not None and setup.decider is None
        said = store.votes.get((store.member, key))
        if is_ours and key in boards.watched and record is not None and record.primary is not None:
            seen = boards.health.get((key, record.primary))
            wanted, at = vote_wanted(record, seen, said, trio.current_time())
            review_at = min(review_at, at)
        if not _is_same(wanted, said):
            news[key] = wanted
    if news:
        told.update(news)
        await store.vote(news)
        told.difference_update(key for key, wanted in news.items() if wanted is None)
    return review_at


def _is_same(one: Vote | None, other: Vote | None) -> bool:
    """Whether they say the same; for which reason is for people."""
    if one is None or other is None:
        return one is other
    return (one.primary, one.finding) == (other.primary, other.finding)
